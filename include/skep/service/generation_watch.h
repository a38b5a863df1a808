// SPDX-License-Identifier: MIT
//
// Which generation of a mounted filesystem is committed, from sysfs: without a descriptor of the
// filesystem, which would be in the way of umount(8), and without committing anything.
//
// /sys/fs/btrfs/UUID/generation names the transaction that runs, or, while none does, the last one.
// All before it are committed. It is itself once the count of commits (commit_stats, since
// Linux 6.1) has risen after it was seen. On older kernels it is taken for committed when nothing
// has followed for longer than the commit interval. Thread-compatible.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "skep/btrfs/types.h"

namespace skep::service {

class GenerationWatch {
 public:
  using Clock = std::chrono::steady_clock;
  explicit GenerationWatch(const btrfs::Uuid& filesystem,
                           const std::string& sysfs = "/sys/fs/btrfs");

  // The newest generation that is known to be committed; empty when the filesystem is not mounted.
  std::optional<std::uint64_t> poll(Clock::time_point now = Clock::now());
  // Somebody has waited for the commit of this one.
  void committed(std::uint64_t generation) { committed_ = std::max(committed_, generation); }

 private:
  // Longer than the commit interval of 30 s; who has set a longer one has a newer kernel, or waits.
  static constexpr std::chrono::seconds kSurelyCommitted{60};
  std::optional<std::uint64_t> commits() const;

  const std::string folder_;
  std::uint64_t seen_ = 0;                     // generation named last
  std::optional<std::uint64_t> commits_then_;  // when it was first named
  Clock::time_point since_;
  std::uint64_t committed_ = 0;
};

}  // namespace skep::service
