// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>

namespace skep::service {

// How often what waits asks whether it shall stop: soon enough for a person, and ten wakes a second
// are nothing to measure.
inline constexpr auto kStopEvery = std::chrono::milliseconds(100);

}  // namespace skep::service
