// SPDX-License-Identifier: MIT
//
// Which generation of a mounted filesystem is committed, from sysfs: without a descriptor of the
// filesystem, which would be in the way of umount(8), and without committing anything. Where sysfs
// does not name it (before Linux 5.11), `ask` does.
//
// /sys/fs/btrfs/UUID/generation names the transaction that runs, or, while none does, the last one.
// All before it are committed. Whether it is itself, the count of commits tells (commit_stats,
// since Linux 6.1): transactions are numbered one by one and each is counted once, so the last one
// that is committed is the count plus an offset that never changes while the filesystem is mounted.
// A sync tells the offset, once: the generation that it returns, less the count some moments later.
// Should others commit in those moments it tells a bound, and another sync, when all is still, the
// rest. (Looks alone cannot: a transaction begins while the one before it is being committed, and
// is not counted; that one shows in commit_stats, but not in its first millisecond. Who took the
// difference for the offset or one more, took transactions that ran for committed ones, and passed
// over what came in them: seen beside a balance, which commits all the time.) On older kernels a
// generation is taken for committed when nothing has followed it for longer than the commit
// interval. Good for as long as the filesystem stays mounted. Thread-compatible.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>

#include "skep/btrfs/types.h"

namespace skep::service {

class GenerationWatch {
 public:
  using Clock = std::chrono::steady_clock;
  // The generation of a mounted filesystem, from itself; empty when that cannot be had.
  using Ask = std::function<std::optional<std::uint64_t>()>;
  explicit GenerationWatch(const btrfs::Uuid& filesystem, Ask ask = {},
                           const std::string& sysfs = "/sys/fs/btrfs");

  // The newest generation that is known to be committed; empty when the filesystem is not mounted.
  std::optional<std::uint64_t> poll(Clock::time_point now = Clock::now());
  // True when the last generation has stood still for a while, and looking does not tell whether it
  // is committed: a sync, which then commits nothing if it is, would tell this and all later ones.
  bool wants_sync(Clock::time_point now = Clock::now()) const;
  // Somebody has waited for the commit of this one.
  void committed(std::uint64_t generation, Clock::time_point now = Clock::now());

 private:
  bool mounted() const;
  std::optional<std::uint64_t> commits() const;
  std::optional<std::uint64_t> generation() const;
  void bound_offset(std::uint64_t generation, std::uint64_t count, Clock::time_point now);

  std::string folder_;
  Ask ask_;
  std::uint64_t seen_ = 0;  // generation named last
  Clock::time_point since_;
  std::uint64_t committed_ = 0;
  // Of the offset, as differences of unsigned numbers that never wrap on a real filesystem.
  static constexpr std::int64_t kUnknown = std::numeric_limits<std::int64_t>::min();
  std::int64_t least_ = kUnknown;
  std::int64_t most_ = std::numeric_limits<std::int64_t>::max();
  std::uint64_t waited_for_ = 0;  // what committed() was told; 0: nothing, or it is accounted for
  Clock::time_point waited_at_;
};

}  // namespace skep::service
