// SPDX-License-Identifier: MIT
//
// Shares common blocks of files that are not equal. Each block of each file is hashed and looked up
// in a table of bounded size; where a block is known, both files are compared forwards and
// backwards from there, and the whole run is shared. Where the files have more blocks than the
// table has room for, only blocks whose hash ends in zeros are put in it: a run of blocks holds
// some of them, and the comparison finds the others. Thread-compatible.
#pragma once

#include <absl/functional/function_ref.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "skep/dedupe/block_places.h"
#include "skep/dedupe/file_groups.h"
#include "skep/dedupe/file_sharer.h"
#include "skep/dedupe/range_sharer.h"

namespace skep::dedupe {

class BlockSharer {
 public:
  struct Options {
    bool dry_run = false;
    std::uint64_t min_run_bytes = 0;
  };

  BlockSharer(btrfs::NamedFiles& files, RangeSharer& ranges, const Options& options,
              const std::atomic<bool>& stop)
      : files_(files), ranges_(ranges), options_(options), stop_(stop) {}

  using Report = absl::FunctionRef<void(const GroupResult&)>;
  void run(std::vector<FileRecord> records, Report report, Problem problem);

 private:
  struct Opened;
  struct Run;
  void run_together(std::vector<FileRecord> records, Report report, Problem problem);
  void walk(std::uint32_t index, BlockPlaces& places, Report report, Problem problem);
  absl::StatusOr<std::shared_ptr<Opened>> open(std::uint32_t index);
  std::optional<Run> run_at(const BlockPlaces::Place& place, std::uint32_t index, Opened& target,
                            std::uint64_t offset, std::uint64_t floor);
  absl::Status share(const Run& run, Opened& target, FileResult& result);

  btrfs::NamedFiles& files_;
  RangeSharer& ranges_;
  const Options options_;
  const std::atomic<bool>& stop_;
  std::vector<FileRecord> records_;
  // Those that were used last: hits come in a row.
  std::deque<std::pair<std::uint32_t, std::shared_ptr<Opened>>> opened_;
};

}  // namespace skep::dedupe
