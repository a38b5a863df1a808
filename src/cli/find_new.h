// SPDX-License-Identifier: MIT
//
// `skep find-new`.
#pragma once

#include <cstdint>
#include <string>

namespace skep::cli {

struct FindNewCommand {
  std::string subvolume;  // path of its top folder
  std::uint64_t generation = 0;
  bool json = false;
  bool nul = false;  // ends lines with NUL: names may hold newlines
};

// Returns the exit status.
int find_new(const FindNewCommand& command);

}  // namespace skep::cli
