// SPDX-License-Identifier: MIT
//
// What --help prints of a command: 80 columns, so that it fits a terminal as it is opened.
#pragma once

#include <string>

#include "command_tree.h"

namespace skep::cli {

// `name` is what was typed: "skep table show".
std::string help_text(const CommandTree& tree, const std::string& name);

}  // namespace skep::cli
