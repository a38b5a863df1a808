// SPDX-License-Identifier: MIT
//
// `skep pause` and `skep resume`.
#pragma once

#include <string>

namespace skep::cli {

struct ControlCommand {
  enum class Action { kPause, kResume };
  Action action = Action::kPause;
  std::string name;     // mount point or UUID; empty: all instances that run
  std::string run_dir;  // of one instance, or of all; empty: /run/skep
};

// Returns the exit status, when the instances have said that they pause or go on.
int control(const ControlCommand& command);

}  // namespace skep::cli
