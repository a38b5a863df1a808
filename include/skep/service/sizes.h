// SPDX-License-Identifier: MIT
//
// Sizes and durations as people write and read them: 64K, 1.5G, 2T, powers of 1024; 90s, 2min. Pure
// functions, thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace skep::service {

// Bytes; empty for what is no size. "64K", "64KiB", "64k", "65536", "1.5G".
std::optional<std::uint64_t> parse_size(std::string_view text);
// "1.4 GiB", "767 MiB", "12 KiB", "17 B".
std::string format_size(std::uint64_t bytes);
// "3.2 s", "5 min 12 s", "2 h 5 min".
std::string format_duration(double seconds);
// Empty for what is no duration, or longer than a hundred years. "90s", "2min", "1h 30min", "90":
// seconds.
std::optional<std::chrono::seconds> parse_duration(std::string_view text);

}  // namespace skep::service
