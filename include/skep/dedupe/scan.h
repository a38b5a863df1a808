// SPDX-License-Identifier: MIT
//
// The scans that fill the table before a pass: with every block known, an extent whose copy comes
// later in the crawl is decided rightly the first time. Functions; nothing is shared.
#pragma once

#include <absl/functional/function_ref.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <span>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/content_marks.h"
#include "skep/dedupe/counters.h"
#include "skep/dedupe/crawl.h"
#include "skep/dedupe/filter_options.h"
#include "skep/dedupe/fingerprint_stage.h"
#include "skep/dedupe/pace.h"
#include "skep/dedupe/size_classes.h"
#include "skep/index/content_cache.h"
#include "skep/index/table.h"

namespace skep::dedupe {

// Counts the extents of a window whose length is in `lengths` and, with FingerprintKind::kCsum,
// puts all their stored checksums into `table`, where those of generations up to `in_table` are
// already. `stop` is asked now and then; true from it ends the scan with CANCELLED. Without a pace
// it is never held up.
absl::StatusOr<Census> scan(btrfs::Filesystem& fs, const index::Fingerprinter& fingerprinter,
                            Window window, index::Table& table, const std::function<bool()>& stop,
                            Pace* pace = nullptr, SizeLimits lengths = {},
                            std::uint64_t in_table = 0);

// The same into several tables at once, for who compares them; `seen` is told of each extent, with
// its fingerprints. With FingerprintKind::kCsum.
absl::StatusOr<Census> scan_into(std::span<index::Table* const> tables, btrfs::Filesystem& fs,
                                 const index::Fingerprinter& fingerprinter, Window window,
                                 const std::function<bool()>& stop, Pace* pace, SizeLimits lengths,
                                 absl::FunctionRef<void(const FingerprintedExtent&)> seen,
                                 std::uint64_t in_table = 0);

// Whether the filesystem has extents of the window of such lengths; when that cannot be told, true.
bool has_extents(btrfs::Filesystem& fs, Window window, SizeLimits lengths);

// All data extents by their length: a walk over the extent tree, and no more. CANCELLED as scan().
absl::StatusOr<SizeClasses> count_sizes(btrfs::Filesystem& fs, const std::function<bool()>& stop);

// Reads the extents of a window that have to be read, in the order of their addresses, puts their
// blocks into `table` and the content cache, and marks where something is stored twice.
struct ContentScan {
  btrfs::Filesystem& fs;
  FingerprintStage& stage;
  const index::Fingerprinter& fingerprinter;
  index::Table& table;
  const index::ContentCache& contents;
  ContentMarks& marks;
  Unjudged* unjudged;  // null where extents have been judged before, and are not to be counted
  Counters& counters;
  Pace* pace = nullptr;  // null: never held up
  SizeLimits lengths{};  // of the extents; others are passed over

  // From the extent at or behind address `start` on; `reached` is called now and then with where it
  // would go on. CANCELLED when `stop` said so.
  absl::Status run(Window window, std::uint64_t start, const std::function<bool()>& stop,
                   const std::function<void(std::uint64_t)>& reached);

 private:
  void index(const FingerprintedExtent& extent);
  void count(const FingerprintedExtent& extent);
};

}  // namespace skep::dedupe
