// SPDX-License-Identifier: MIT
//
// Bars for terminals. Pure functions.
#pragma once

#include <string>

namespace skep::cli {

// `share` of `cells` character cells, to an eighth of a cell; as wide as it is filled. "" for 0.
std::string solid_bar(double share, int cells);

}  // namespace skep::cli
