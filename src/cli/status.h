// SPDX-License-Identifier: MIT
//
// `skep status`.
#pragma once

#include <string>

namespace skep::cli {

struct StatusCommand {
  std::string name;     // mount point or UUID; empty: all instances
  std::string run_dir;  // of one instance, or of all; empty: /run/skep
  bool watch = false;
  bool json = false;
};

// Returns the exit status. With `watch` it returns on SIGINT or SIGTERM.
int show_status(const StatusCommand& command);

}  // namespace skep::cli
