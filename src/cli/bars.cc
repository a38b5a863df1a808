// SPDX-License-Identifier: MIT
#include "bars.h"

#include <algorithm>
#include <cmath>

namespace skep::cli {

std::string solid_bar(double share, int cells) {
  constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  // What is there shows, however little.
  const double filled = std::clamp(share, 0.0, 1.0) * cells * 8;
  const long eighths = filled > 0 ? std::max(1L, std::lround(filled)) : 0;
  std::string out;
  for (long i = 0; i < eighths / 8; ++i) out += "█";
  return out + kEighths[eighths % 8];
}

}  // namespace skep::cli
