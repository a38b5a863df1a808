// SPDX-License-Identifier: MIT
//
// How far work is that goes on, for those who show it. One part of the work at a time: what comes
// next is not known before, as only reading tells how much of it there is, so that a share of all
// would be a guess.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

#include "skep/dedupe/counters.h"

namespace skep::service {

// Thread-safe.
class Progress {
 public:
  // The only thing that says how far a part is: it is done when `bytes_progress` has grown by its
  // bytes.
  dedupe::Counters counters;

  // A part begins, which looks at extents of so many bytes. `part` is borrowed for good: the name
  // of a PassKind, or "scan", "survey", "sample". 0 bytes: not known, as of "scan".
  void begin(std::string_view part, std::uint64_t bytes);
  // More of the same has turned up.
  void add(std::uint64_t bytes);

  struct Now {
    std::string_view part;  // empty: nothing has begun
    std::uint64_t done_bytes = 0, total_bytes = 0;
    double share = 0;    // 0 to 1; never falls while the part goes on
    double seconds = 0;  // since it began
    // At its rate until now; none before it has one, and when all is counted.
    std::optional<double> seconds_left() const;
  };
  Now now() const;

 private:
  using Clock = std::chrono::steady_clock;

  mutable absl::Mutex mutex_;
  std::string_view part_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t total_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t begin_ ABSL_GUARDED_BY(mutex_) = 0;  // bytes_progress at that time
  Clock::time_point since_ ABSL_GUARDED_BY(mutex_);
  mutable double best_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace skep::service
