// SPDX-License-Identifier: MIT
//
// How long to rest before the next batch, so that others are left alone when they need the machine.
// Others' pressure can only be seen while skep rests, so each rest is a look as well: over the
// limit the next one is twice as long, under it half as long, and at last none. Without rests there
// is still a short look after some time of work, which costs a tenth of the speed at most.
//
// The longest rest is what keeps the tail of others' latency: a batch that takes less than 1 % of
// the time cannot move their p99 much, and work still goes on. Thread-compatible.
#pragma once

#include <algorithm>
#include <chrono>

namespace skep::service {

class PressureRest {
 public:
  using Duration = std::chrono::steady_clock::duration;
  // Shorter looks see single requests only.
  static constexpr Duration kLeast = std::chrono::milliseconds(20);
  static constexpr Duration kLookAfter = std::chrono::milliseconds(200);
  // Batches of up to 40 ms are under 1 % of the time then; after longer ones the rest may grow with
  // the batch, but never beyond kLongest, or work would seem to have stopped.
  static constexpr Duration kLong = std::chrono::seconds(5);
  static constexpr int kBatches = 125;
  static constexpr Duration kLongest = std::chrono::seconds(60);

  // The rest that is due before the next batch; zero: none.
  Duration due() const {
    if (rest_ > Duration::zero()) return std::min(rest_, longest());
    return worked_ >= kLookAfter ? kLeast : Duration::zero();
  }
  // A batch took so long.
  void worked(Duration batch) {
    batch_ = batch;
    worked_ += batch;
  }
  // The rest that was due is over.
  void looked(bool over_limit);
  // Rests are longer than a look needs.
  bool slows() const { return rest_ > kLeast; }

 private:
  Duration longest() const { return std::clamp(kBatches * batch_, kLong, kLongest); }

  Duration rest_ = kLeast;
  Duration batch_{}, worked_{};  // the last batch; all since the last look
};

}  // namespace skep::service
