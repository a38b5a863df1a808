// SPDX-License-Identifier: MIT
//
// Numbers, times and names as people read them. Pure functions, but for the clock.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace skep::cli {

// 12345 as "12,345".
std::string grouped(std::uint64_t number);
// "1 run", "12,345 runs".
std::string plural(std::uint64_t count, std::string_view noun);

// What part of `whole` is `part`; 0 of nothing.
double share_of(std::uint64_t part, std::uint64_t whole);

// Of a time in seconds since 1970: "3 minutes ago".
std::string age(std::uint64_t since);
// Without what could steer a terminal: file names and messages may hold anything.
std::string printable(std::string_view text);

}  // namespace skep::cli
