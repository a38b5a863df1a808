// SPDX-License-Identifier: MIT
//
// Text as HTML and SVG take it. Pure.
#pragma once

#include <string>
#include <string_view>

namespace skep::cli {

// For contents and for quoted attributes. What is no UTF-8, and control characters, become U+FFFD.
std::string html(std::string_view text);

}  // namespace skep::cli
