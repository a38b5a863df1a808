// SPDX-License-Identifier: MIT
//
// `skep run --once`: opens the filesystem and its state, and makes passes until one frees nothing
// more. It always ends: the first pass covers the generations since the last run, each further one
// only what was written since the one before it began (skep's own copies, mostly), and there are at
// most dedupe::limits::kPasses. Thread-compatible: one run at a time in a process.
#pragma once

#include <absl/status/status.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "skep/btrfs/types.h"
#include "skep/dedupe/types.h"
#include "skep/index/table.h"
#include "skep/service/progress.h"
#include "skep/service/refusal.h"
#include "skep/service/settings.h"
#include "skep/service/state_dir.h"

namespace skep::service {

struct RunOptions {
  // A mount point, or the UUID of a filesystem that is mounted. Or the top folder of a subvolume
  // that is no mount point: then the run is restricted to that one and those nested in it.
  std::string target;
  Settings settings;
  bool gentle = false;     // keeps to Settings::throttle
  bool scan_only = false;  // fills the table, always of all the filesystem, and ends
};

enum class Result { kDone, kStopped, kFailed };

struct Summary {
  Result result = Result::kDone;
  std::string stop_reason;  // for kStopped
  btrfs::Uuid filesystem{};
  int passes = 0;
  double seconds = 0;
  bool resumed = false;
  std::uint64_t data_used_before = 0, data_used_after = 0;  // bytes
  std::int64_t metadata_growth = 0;                         // bytes as on disk, all copies
  index::Table::Usage table;
  Totals totals;
};

struct RunResult {
  Refusal refusal;
  absl::Status status;  // an error on the way; the state is saved all the same
  Summary summary;
};

RunResult run_once(const RunOptions& options, Progress& progress, const std::atomic<bool>& stop);

}  // namespace skep::service
