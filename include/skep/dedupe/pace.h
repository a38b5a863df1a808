// SPDX-License-Identifier: MIT
//
// Who decides when the engine may go on. It is asked before each batch is taken up, and told when
// one is settled, so that it can let one batch go at a time and look at the machine in between; and
// it is asked between the steps of a batch, because a batch can take long: an extent has up to
// 128 MiB, and a slow disk a hundred seeks for a batch of small ones.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "skep/dedupe/limits.h"

namespace skep::dedupe {

// Thread-safe: all are called from several threads.
class Pace {
 public:
  virtual ~Pace() = default;
  // Returns when the next batch may begin, or soon after `stop` says true.
  virtual void before_batch(const std::function<bool()>& stop) = 0;
  // A batch that before_batch let go is settled, or was dropped.
  virtual void batch_done() = 0;
  // Returns when a batch that is under way may go on, or soon after `stop` says true. No lock is
  // held and no call of the kernel is under way; the batch's extents keep their roles.
  virtual void between_steps(const std::function<bool()>& stop) = 0;
  // Bytes of data to read, compare or ask for ahead in a step.
  virtual std::uint64_t step_bytes() const = 0;
};

// What a stage that works for long needs of a pace: with none it is never held up. `stop` is what
// ends a wait early. Copied freely; both are borrowed or cheap. Thread-safe.
class Steps {
 public:
  Steps() = default;
  Steps(Pace* pace, std::function<bool()> stop) : pace_(pace), stop_(std::move(stop)) {}

  // Between two steps.
  void wait() const {
    if (pace_ != nullptr) pace_->between_steps(stop_);
  }
  std::uint64_t bytes() const {
    return pace_ != nullptr ? pace_->step_bytes() : limits::kShareBytes;
  }
  // Bytes to ask for ahead of what is worked on.
  std::uint64_t ahead_bytes() const {
    return limits::kReadAheadBytes / limits::kShareBytes * bytes();
  }

 private:
  Pace* pace_ = nullptr;
  std::function<bool()> stop_;
};

}  // namespace skep::dedupe
