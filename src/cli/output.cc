// SPDX-License-Identifier: MIT
#include "output.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "skep/service/exit_status.h"

namespace skep::cli {

int fail(int exit_status, std::string_view message) {
  fmt::print(stderr, "skep: {}\n", message);
  return exit_status;
}

int print(std::string_view text, int exit_status) {
  fmt::print("{}", text);
  if (std::fflush(stdout) == 0) return exit_status;
  return fail(service::kExitFailed, fmt::format("writing the result: {}", std::strerror(errno)));
}

}  // namespace skep::cli
