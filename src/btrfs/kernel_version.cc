// SPDX-License-Identifier: MIT
#include "skep/btrfs/kernel_version.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/utsname.h>

#include <array>
#include <atomic>
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

constexpr auto kFeatures = static_cast<std::size_t>(KernelFeature::kCount);
constexpr std::array<FeatureFacts, kFeatures> kFacts{{
    {KernelFeature::kGenerationFile, "generation in sysfs", "5.11",
     "a skep that stays asks the filesystem itself, through a mount of its own for a moment"},
    {KernelFeature::kWritableMount, "mount_setattr(2)", "5.12",
     "a UUID is refused while all mounts of the filesystem are read-only, as they are to a "
     "service"},
    {KernelFeature::kCommitCount, "commit_stats in sysfs", "6.1",
     "a skep that stays looks at the last of what was written a minute after it, not within "
     "seconds"},
    {KernelFeature::kAnyGeneration, "file handles without a generation", "6.2",
     "compressed extents and those without checksums cost a look-up more for each file"},
}};

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

const FeatureFacts& facts_of(KernelFeature feature) {
  return kFacts[static_cast<std::size_t>(feature)];
}

void note_missing(KernelFeature feature) {
  static std::array<std::atomic<bool>, kFeatures> noted;
  if (noted[static_cast<std::size_t>(feature)].exchange(true)) return;
  const FeatureFacts& facts = facts_of(feature);
  spdlog::debug("this kernel lacks {} (since Linux {}): {}", facts.what, facts.since,
                facts.without);
}

KernelVerdict judge_running_kernel() {
  struct utsname name {};
  if (uname(&name) != 0) return {KernelVerdict::Kind::kRefuse, "uname failed"};
  return judge_kernel(name.release);
}

}  // namespace skep::btrfs
