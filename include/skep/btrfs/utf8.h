// SPDX-License-Identifier: MIT
//
// File names are bytes; some of them are UTF-8. Pure functions, thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace skep::btrfs {

// The length of the character that the text begins with; 0 when that is none, or the text is empty.
std::size_t utf8_length(std::string_view text);
bool is_utf8(std::string_view text);
// `code` is at most 0x10ffff.
void append_utf8(std::string& out, std::uint32_t code);

}  // namespace skep::btrfs
