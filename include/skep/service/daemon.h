// SPDX-License-Identifier: MIT
//
// `skep run` without --once: stays, and looks at what is new once its transaction is committed.
// While there is nothing to do it holds no descriptor of the filesystem, so that it can be
// unmounted; it then waits for it to come back. Ends on SIGTERM and SIGINT, reads its settings
// again on SIGHUP, pauses on SIGUSR1 and goes on on SIGUSR2. Thread-compatible: one in a process,
// whose signals it takes.
#pragma once

#include <absl/status/statusor.h>

#include <functional>

#include "skep/service/progress.h"
#include "skep/service/refusal.h"
#include "skep/service/settings.h"

namespace skep::service {

struct DaemonOptions {
  std::string target;  // a mount point, or the UUID of a filesystem that need not be mounted yet
  Settings settings;
  // The settings as they are now, for SIGHUP. Errors are logged, and change nothing.
  std::function<absl::StatusOr<Settings>()> reload;
  std::string version;
};

// To be called before any thread is started: they inherit which signals are blocked. A refusal with
// exit status 0 says that the daemon has run, and was told to end.
Refusal run_daemon(const DaemonOptions& options, Progress& progress);

}  // namespace skep::service
