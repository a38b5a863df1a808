// SPDX-License-Identifier: MIT
//
// How long to rest before the next step, so that others are left alone when they need the machine.
// Others' pressure can only be seen while skep rests, so each rest is made of looks. Over the limit
// a rest goes on, with looks twice as long each, until a look is under the limit, or until the rest
// is so long that the work between two rests cannot be noticed: at once, because people notice the
// first second too. Without pressure there is a short look now and then, which costs a tenth of the
// speed at most.
//
// The longest rest is what keeps the tail of others' latency. A request of theirs is hit when it
// overlaps with work, so it takes less than 1 % of the time, with some room for the requests' own
// length, to leave their p99 where it is. With rests that doubled from 20 ms to 5 s instead, the
// p99 of fdatasync fifty times a second on a disk in memory went from 1.4 to 17 ms in the first 16
// s (medians of 4 runs of scripts/latency). Rests follow work, not batches: many short ones, of
// extents that are unique, are one stretch of work. Thread-compatible.
#pragma once

#include <algorithm>
#include <chrono>

namespace skep::service {

class PressureRest {
 public:
  using Duration = std::chrono::steady_clock::duration;
  // The first look. Shorter ones see single requests only.
  static constexpr Duration kLeast = std::chrono::milliseconds(20);
  // Of work between two looks, while others are busy and soon after; a step may take longer.
  static constexpr Duration kStretch = std::chrono::milliseconds(40);
  // The same while nobody was busy at so many looks.
  static constexpr Duration kLookAfter = std::chrono::milliseconds(200);
  static constexpr int kCalmLooks = 10;
  // At most so many times the work before it, half a percent of the time, but never beyond
  // kLongest, or work would seem to have stopped.
  static constexpr int kTimesWork = 200;
  static constexpr Duration kLongest = std::chrono::seconds(60);

  // The first look of the rest that is due before the next step; zero: none is due.
  Duration due() const {
    return worked_ >= (calm_looks_ < kCalmLooks ? kStretch : kLookAfter) ? kLeast
                                                                         : Duration::zero();
  }
  void worked(Duration time) { worked_ += time; }
  // A look is over. Returns how long the next one of this rest is; zero: the rest is over.
  Duration looked(Duration look, bool over_limit);

 private:
  Duration worked_ = kStretch;  // since the last rest; the first one is before all work
  Duration rested_{};           // in this rest
  int calm_looks_ = 1;          // in a row
};

}  // namespace skep::service
