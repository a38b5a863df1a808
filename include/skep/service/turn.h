// SPDX-License-Identifier: MIT
//
// Instances that work on one filesystem at a time: one is let go by a lock on a file they share,
// /run/skep/turn (flock(2)), and gives it back after some minutes, while it is held or rests for
// long, and when it has nothing to do. A lock of one that is killed is free.
//
// Stands before another pace. Thread-safe.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/status/status.h>
#include <absl/synchronization/mutex.h>

#include <chrono>
#include <functional>
#include <string>

#include "skep/btrfs/descriptor.h"
#include "skep/dedupe/pace.h"

namespace skep::service {

class Turn final : public dedupe::Pace {
 public:
  // Long enough that a disk which two filesystems share does not go to and fro between them.
  static constexpr auto kLongest = std::chrono::minutes(2);

  // `waits` is told when it begins (true) and ceases (false) to wait for others; it must not call
  // the turn. `next` is borrowed.
  Turn(dedupe::Pace& next, std::function<void(bool)> waits)
      : next_(next), waits_(std::move(waits)) {}

  // Without it nobody is waited for. `run_dir` is this instance's: the file lies beside it. An
  // errno_status when it cannot be opened or made.
  absl::Status open(const std::string& run_dir) ABSL_LOCKS_EXCLUDED(mutex_);
  // Work has ended, or waits for long: somebody else may have the turn.
  void give_back() ABSL_LOCKS_EXCLUDED(mutex_);

  void before_batch(const std::function<bool()>& stop) override ABSL_LOCKS_EXCLUDED(mutex_);
  void batch_done() override ABSL_LOCKS_EXCLUDED(mutex_);
  void between_steps(const std::function<bool()>& stop) override ABSL_LOCKS_EXCLUDED(mutex_);
  std::uint64_t step_bytes() const override { return next_.step_bytes(); }

 private:
  using Clock = std::chrono::steady_clock;
  void take(const std::function<bool()>& stop) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void wait(Clock::duration time, const std::function<bool()>& stop)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void unlock() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  dedupe::Pace& next_;
  const std::function<void(bool)> waits_;
  absl::Mutex mutex_;
  btrfs::Descriptor file_ ABSL_GUARDED_BY(mutex_);
  bool has_ ABSL_GUARDED_BY(mutex_) = false;
  int under_way_ ABSL_GUARDED_BY(mutex_) = 0;  // batches
  Clock::time_point since_ ABSL_GUARDED_BY(mutex_){};
};

}  // namespace skep::service
