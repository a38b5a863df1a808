// SPDX-License-Identifier: MIT
//
// The local day and time of day, and the hours of a day that skep works in. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <ctime>
#include <string>
#include <vector>

#include "skep/service/settings.h"

namespace skep::service {

struct LocalTime {
  std::int64_t day = 0;                   // days since 1970-01-01, by the local calendar
  std::chrono::seconds since_midnight{};  // as a clock on the wall shows it
};

LocalTime to_local(std::time_t time);
LocalTime local_time_now();

// "22:05:09"
std::string time_of_day(std::time_t time);

// Whether a time of day is in one of the hours; always when there are none.
bool within(const std::vector<Hours>& hours, std::chrono::seconds since_midnight);
// The time of day, "22:00", at which the next of the hours begins.
std::string next_begin(const std::vector<Hours>& hours, std::chrono::seconds since_midnight);

}  // namespace skep::service
