// SPDX-License-Identifier: MIT
//
// `skep run`.
#pragma once

#include "skep/service/run_once.h"

namespace skep::cli {

struct RunCommand {
  service::RunOptions options;
  bool json = false;
  bool quiet = false;
  bool verbose = false;
};

// Returns the exit status.
int run(const RunCommand& command);

}  // namespace skep::cli
