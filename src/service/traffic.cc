// SPDX-License-Identifier: MIT
#include "skep/service/traffic.h"

#include <algorithm>

namespace skep::service {

DailyUse DailyUse::with(const Traffic& more, std::int64_t today) const {
  DailyUse out = day == today ? *this : DailyUse{today, 0, 0};
  out.read += more.read;
  out.written += more.written;
  return out;
}

double TokenBucket::level_at(TimePoint now) const {
  return std::min(rate_, level_ + rate_ * std::chrono::duration<double>(now - at_).count());
}

void TokenBucket::set_rate(std::uint64_t bytes_per_second, TimePoint now) {
  const bool fresh = rate_ == 0;
  const double level = level_at(now);
  rate_ = static_cast<double>(bytes_per_second);
  level_ = fresh ? rate_ : std::min(level, rate_);
  at_ = now;
}

void TokenBucket::spend(std::uint64_t bytes, TimePoint now) {
  if (rate_ == 0) return;
  level_ = level_at(now) - static_cast<double>(bytes);
  at_ = now;
}

TokenBucket::Duration TokenBucket::wait(TimePoint now) const {
  if (rate_ == 0) return Duration::zero();
  const double level = level_at(now);
  if (level >= 0) return Duration::zero();
  // The debt may be of years, more than a Duration holds.
  const std::chrono::duration<double> wait(std::clamp(-level / rate_, 0.001, 3600.0));
  return std::chrono::duration_cast<Duration>(wait);
}

}  // namespace skep::service
