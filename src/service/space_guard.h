// SPDX-License-Identifier: MIT
//
// Looks at the room for metadata before each batch, then asks the throttle. Under the reserve work
// is held until there is room again: sharing needs metadata, and what is left belongs to the users.
// Thread-safe.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>

#include <atomic>
#include <chrono>
#include <functional>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/pace.h"
#include "skep/service/throttle.h"

namespace skep::service {

// The reserve where none is set: a hundredth of the devices, at least 16 and at most 256 MiB.
std::uint64_t default_metadata_reserve(std::uint64_t device_bytes);

class SpaceGuard final : public dedupe::Pace {
 public:
  // `filesystem` gives the one that is worked on, or null.
  SpaceGuard(Throttle& throttle, std::function<btrfs::Filesystem*()> filesystem)
      : throttle_(throttle), filesystem_(std::move(filesystem)) {}
  // 0: the default.
  void set_reserve(std::uint64_t bytes) {
    reserve_bytes_ = bytes;
    look_now_ = true;
  }

  void before_batch(const std::function<bool()>& stop) override ABSL_LOCKS_EXCLUDED(mutex_);
  void batch_done() override { throttle_.batch_done(); }
  // A batch that has begun is let finish: it may be the one that gives room.
  void between_steps(const std::function<bool()>& stop) override { throttle_.between_steps(stop); }
  std::uint64_t step_bytes() const override { return throttle_.step_bytes(); }

 private:
  using Clock = std::chrono::steady_clock;
  bool enough() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Throttle& throttle_;
  const std::function<btrfs::Filesystem*()> filesystem_;
  std::atomic<std::uint64_t> reserve_bytes_ = 0;
  std::atomic<bool> look_now_ = true;
  absl::Mutex mutex_;
  Clock::time_point looked_ ABSL_GUARDED_BY(mutex_){};
};

}  // namespace skep::service
