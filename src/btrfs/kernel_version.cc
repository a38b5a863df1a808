// SPDX-License-Identifier: MIT
#include "skep/btrfs/kernel_version.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <charconv>
#include <tuple>

namespace skep::btrfs {
namespace {

using Version = std::tuple<int, int, int>;

Version parse_release(std::string_view release) {
  int part[3] = {0, 0, 0};
  const char* at = release.data();
  const char* end = at + release.size();
  for (int& number : part) {
    auto [rest, error] = std::from_chars(at, end, number);
    if (error != std::errc() || rest == end || *rest != '.') break;
    at = rest + 1;
  }
  return {part[0], part[1], part[2]};
}

}  // namespace

KernelVerdict judge_kernel(std::string_view release) {
  const Version v = parse_release(release);
  const auto refuse = [&](std::string_view why) {
    return KernelVerdict{KernelVerdict::Kind::kRefuse,
                         fmt::format("kernel {}: {}; use 5.10 or newer", release, why)};
  };
  if (v == Version{0, 0, 0}) return refuse("version not understood");
  if (v < Version{5, 0, 4}) {
    return refuse("sharing can deadlock with rename, and compressed files can be read wrongly");
  }
  if (v >= Version{5, 1, 0} && v < Version{5, 4, 14}) {
    return refuse("a balance beside sharing can destroy the filesystem");
  }
  if (v < Version{5, 9, 0}) return refuse("it does not name the filesystem's checksum");
  return {};
}

KernelVerdict judge_running_kernel() {
  struct utsname name {};
  if (uname(&name) != 0) return {KernelVerdict::Kind::kRefuse, "uname failed"};
  return judge_kernel(name.release);
}

}  // namespace skep::btrfs
