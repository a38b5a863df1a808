// SPDX-License-Identifier: MIT
//
// `skep run` and `skep scan`.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <string>

#include "skep/service/run_once.h"

namespace skep::cli {

struct RunCommand {
  bool once = false;  // also of `skep scan`, which is options.scan_only
  bool check_config = false;
  std::string config_dir;  // empty: service::kConfigDir
  service::RunOptions options;
  bool json = false;
  bool quiet = false;
  bool verbose = false;
};

// Returns the exit status. `settings` reads the configuration again, with the command line over it.
using ReadSettings = std::function<absl::StatusOr<service::Settings>()>;
int run(const RunCommand& command, const ReadSettings& settings);

}  // namespace skep::cli
