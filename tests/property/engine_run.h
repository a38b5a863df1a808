// SPDX-License-Identifier: MIT
//
// Runs the engine over a filesystem as `skep run --once` does: passes until one frees nothing more,
// each over what was written since the one before it began. Thread-compatible.
#pragma once

#include <absl/status/status.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/counters.h"
#include "skep/dedupe/rounds.h"
#include "skep/dedupe/types.h"
#include "skep/index/table.h"

namespace skep::property {

using Progress = dedupe::Position;  // what one run leaves to the next

struct TableOfKind {
  index::FingerprintKind kind = index::FingerprintKind::kCsum;
  std::unique_ptr<index::Table> table;
};

struct RunEnd {
  absl::Status status;
  bool complete = false;
};

// The kind of the fingerprints is the table's.
RunEnd run_engine(btrfs::Filesystem& fs, TableOfKind& table, dedupe::Counters& counters,
                  const dedupe::Options& options, Progress& progress,
                  const std::atomic<bool>& stop);

std::uint64_t verdict_extents(const dedupe::Counters& counters);
std::uint64_t verdict_bytes(const dedupe::Counters& counters);
std::uint64_t extents_with(const dedupe::Counters& counters, dedupe::Verdict verdict);
// Every verdict and counter that is not 0, in one line.
std::string to_string(const dedupe::Counters& counters);

// A folder that goes at the end of its life, for tables.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  // A new table in it, for `fs`; ends the program when it cannot be made.
  TableOfKind new_table(const btrfs::Filesystem& fs, index::FingerprintKind kind,
                        std::uint64_t bytes);

 private:
  std::string path_;
  int tables_ = 0;
};

}  // namespace skep::property
