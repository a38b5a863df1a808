// SPDX-License-Identifier: MIT
//
// `skep estimate` and `skep tune`: they look, and change nothing.
#pragma once

#include <string>

#include "skep/service/estimate.h"

namespace skep::cli {

struct LookCommand {
  service::EstimateOptions options;
  std::string config_dir;  // empty: service::kConfigDir
  bool json = false;
  bool quiet = false;
};

// Both return the exit status.
int estimate(const LookCommand& command);
int tune(const LookCommand& command);

}  // namespace skep::cli
