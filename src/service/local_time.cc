// SPDX-License-Identifier: MIT
#include "skep/service/local_time.h"

#include <fmt/format.h>

#include <algorithm>

namespace skep::service {
namespace {

using std::chrono::seconds;
constexpr seconds kWholeDay = std::chrono::hours(24);

// Forward on the face of the clock, from 0 to below a day.
seconds ahead(seconds from, seconds to) {
  return ((to - from) % kWholeDay + kWholeDay) % kWholeDay;
}

bool within(const Hours& hours, seconds now) {
  const seconds length = ahead(hours.begin, hours.end);  // none: the whole day, also as 00:00-24:00
  return length == seconds(0) || ahead(hours.begin, now) < length;
}

}  // namespace

LocalTime to_local(std::time_t time) {
  std::tm tm{};
  localtime_r(&time, &tm);
  const std::chrono::year_month_day date(std::chrono::year(tm.tm_year + 1900),
                                         std::chrono::month(static_cast<unsigned>(tm.tm_mon + 1)),
                                         std::chrono::day(static_cast<unsigned>(tm.tm_mday)));
  return {std::chrono::sys_days(date).time_since_epoch().count(),
          std::chrono::hours(tm.tm_hour) + std::chrono::minutes(tm.tm_min) + seconds(tm.tm_sec)};
}

LocalTime local_time_now() { return to_local(std::time(nullptr)); }

std::string time_of_day(std::time_t time) {
  const auto s = to_local(time).since_midnight.count();
  return fmt::format("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

bool within(const std::vector<Hours>& hours, seconds since_midnight) {
  return hours.empty() || std::any_of(hours.begin(), hours.end(), [&](const Hours& some) {
           return within(some, since_midnight);
         });
}

std::string next_begin(const std::vector<Hours>& hours, seconds since_midnight) {
  if (hours.empty()) return "";
  const auto next =
      std::min_element(hours.begin(), hours.end(), [&](const Hours& a, const Hours& b) {
        return ahead(since_midnight, a.begin) < ahead(since_midnight, b.begin);
      });
  const auto minutes = next->begin.count();
  return fmt::format("{:02}:{:02}", minutes / 60 % 24, minutes % 60);
}

}  // namespace skep::service
