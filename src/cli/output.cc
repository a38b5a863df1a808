// SPDX-License-Identifier: MIT
#include "output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "skep/service/exit_status.h"

namespace skep::cli {

int fail(int exit_status, std::string_view message) {
  // Before there is a log: sd-daemon(3)'s mark of an error, where the journal reads it.
  const bool to_journal = std::getenv("JOURNAL_STREAM") != nullptr && isatty(STDERR_FILENO) == 0;
  fmt::print(stderr, "{}skep: {}\n", to_journal ? "<3>" : "", message);
  return exit_status;
}

int print(std::string_view text, int exit_status) {
  fmt::print("{}", text);
  if (std::fflush(stdout) == 0) return exit_status;
  return fail(service::kExitFailed, fmt::format("writing the result: {}", std::strerror(errno)));
}

}  // namespace skep::cli
