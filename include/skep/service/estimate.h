// SPDX-License-Identifier: MIT
//
// `skep estimate`: from opening the filesystem to what a run would free. Nothing is written, the
// state directory is not looked at, and other instances may work meanwhile. Thread-compatible.
#pragma once

#include <absl/status/status.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "skep/btrfs/types.h"
#include "skep/dedupe/estimate.h"
#include "skep/index/table.h"
#include "skep/service/progress.h"
#include "skep/service/refusal.h"
#include "skep/service/settings.h"

namespace skep::service {

struct EstimateOptions {
  std::string target;         // mount point, or UUID
  Settings settings;          // the filter, the limits of copies, the size of the table
  double sample_percent = 0;  // of the small extents to look at; 0: as many as time allows
};

// Extents that a run would have to read.
struct Unread {
  std::uint64_t extents = 0, bytes = 0;
};

struct Estimate {
  btrfs::Uuid filesystem{};
  dedupe::Survey survey;
  dedupe::GainTotals gains;
  std::uint64_t one_in = 1;  // of the small extents so many were looked at
  std::uint64_t looked_bytes = 0, looked_extents = 0;
  std::uint64_t table_bytes = 0, full_table_bytes = 0;
  index::Table::Usage table;
  Unread compressed;
  std::uint64_t bytes_read = 0;  // of data: none
  double seconds = 0;

  // Everything was looked at, against everything.
  bool exact() const { return one_in == 1 && table.level == 0; }
};

// Of what only looks.
template <typename Found>
struct LookResult {
  Refusal refusal;      // nothing was begun
  absl::Status status;  // CANCELLED when it was stopped
  Found found;
};
using EstimateResult = LookResult<Estimate>;

EstimateResult estimate(const EstimateOptions& options, Progress& progress,
                        const std::atomic<bool>& stop);

}  // namespace skep::service
