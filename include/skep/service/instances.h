// SPDX-License-Identifier: MIT
//
// The instances of skep that somebody names, by what they tell of themselves (status.h): one by its
// filesystem, mounted or not, or by its run directory, or all. Needs no privilege. Thread-safe.
#pragma once

#include <string>
#include <vector>

#include "skep/service/refusal.h"
#include "skep/service/status.h"

namespace skep::service {

struct Instance {
  std::string run_dir;
  Status status;
  bool running = false;  // else the status was left by one that is gone
};

struct Instances {
  Refusal refusal;                      // a wrong name, or the one that was named is not there
  bool one = false;                     // one was named
  std::vector<Instance> found;          // ordered by directory; may be empty unless one was named
  std::vector<std::string> unreadable;  // messages, for those among all that could not be read
};

// `name` is a mount point, a UUID, or empty for all. `run_dir` is the run directory of one
// instance, or one with a run directory UUID for each; empty: default_run_base().
Instances find_instances(const std::string& name, const std::string& run_dir);

}  // namespace skep::service
