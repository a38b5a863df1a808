// SPDX-License-Identifier: MIT
//
// Numbers as people read them. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace skep::cli {

// 12345 as "12,345".
std::string grouped(std::uint64_t number);
// "1 run", "12,345 runs".
std::string plural(std::uint64_t count, std::string_view noun);

}  // namespace skep::cli
