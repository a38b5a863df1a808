// SPDX-License-Identifier: MIT
//
// `skep import-beesd`.
#pragma once

#include <string>

namespace skep::cli {

struct ImportBeesdCommand {
  std::string file;
  std::string output;  // a new file; empty: stdout
};

// Returns the exit status.
int import_beesd(const ImportBeesdCommand& command);

}  // namespace skep::cli
