// SPDX-License-Identifier: MIT
//
// FIDEDUPERANGE for files that were named: one range of a source with equally long ranges of any
// number of targets, in as few calls as can be. Each call is small enough to be waited for when a
// stop is asked. Thread-compatible.
#pragma once

#include <absl/status/status.h>

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "skep/btrfs/named_files.h"

namespace skep::dedupe {

// What became of one target. At most one of the last three is so.
struct RangeOutcome {
  std::uint64_t done = 0;  // bytes that the kernel claims to share, from the range's beginning
  bool differs = false;
  bool stopped = false;
  absl::Status status;
};

class RangeSharer {
 public:
  // Compared in one call, all targets together: a second or so when it is in the page cache.
  static constexpr std::uint64_t kCallBytes = 1ULL << 30;

  RangeSharer(btrfs::NamedFiles& files, const std::atomic<bool>& stop)
      : files_(files), stop_(stop) {}

  std::vector<RangeOutcome> share(btrfs::NamedFile& source, std::uint64_t offset,
                                  std::uint64_t length,
                                  std::span<const btrfs::RangeTarget> targets);

 private:
  struct Job;
  void share_some(Job& job, std::span<const std::size_t> which);
  // One call for those of `which` that have done equally much. True when some are to be asked
  // again.
  void call(Job& job, std::span<const std::size_t> which);

  btrfs::NamedFiles& files_;
  const std::atomic<bool>& stop_;
};

}  // namespace skep::dedupe
