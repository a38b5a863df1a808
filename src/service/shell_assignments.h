// SPDX-License-Identifier: MIT
//
// Reads the assignments of a shell file, as far as its words say what they are without a shell.
// Pure functions, thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace skep::service {

struct ShellAssignment {
  std::string name;   // empty: the line is no assignment that can be read
  std::string value;  // without quotes; $VARIABLES stay as they are written
  std::string line;   // as it is written
  bool appends = false;
};

// One for each line that is neither empty nor a comment. Quoted values may go over several lines.
std::vector<ShellAssignment> shell_assignments(std::string_view text);

// The words of a value, between blanks.
std::vector<std::string> words_of(std::string_view text);

}  // namespace skep::service
