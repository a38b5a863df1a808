// SPDX-License-Identifier: MIT
//
// Bytes that skep reads and writes, held to a rate and to a day's budget. Plain values and
// thread-compatible classes; bytes and bytes a second.
#pragma once

#include <chrono>
#include <cstdint>

namespace skep::service {

struct Traffic {
  std::uint64_t read = 0, written = 0;
};

// Since local midnight. The daemon keeps it in its state, or each restart would begin the day anew.
struct DailyUse {
  std::int64_t day = 0;  // LocalTime::day
  std::uint64_t read = 0, written = 0;
  bool operator==(const DailyUse&) const = default;

  // With `more` on `today`. Another day begins at nothing, an earlier one as well: a clock that
  // once was wrong must not stop skep until that day comes.
  DailyUse with(const Traffic& more, std::int64_t today) const;
};

// A token bucket that holds a second's worth. It may go into debt, since a batch's bytes are known
// only when it is done; the debt is waited for then, so the rate holds on average.
class TokenBucket {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::steady_clock::duration;

  // 0: no limit. A bucket that gets its first limit is full; else the debt stays.
  void set_rate(std::uint64_t bytes_per_second, TimePoint now);
  void spend(std::uint64_t bytes, TimePoint now);
  // Until the debt is paid, at most an hour, at least a millisecond; zero without debt.
  Duration wait(TimePoint now) const;

 private:
  double level_at(TimePoint now) const;

  double rate_ = 0, level_ = 0;  // bytes a second; bytes at at_
  TimePoint at_;
};

}  // namespace skep::service
