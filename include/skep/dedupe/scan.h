// SPDX-License-Identifier: MIT
//
// The scans that fill the table before a pass: with every block known, an extent whose copy comes
// later in the crawl is decided rightly the first time. Functions; nothing is shared.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/content_marks.h"
#include "skep/dedupe/counters.h"
#include "skep/dedupe/crawl.h"
#include "skep/dedupe/fingerprint_stage.h"
#include "skep/dedupe/pace.h"
#include "skep/index/content_cache.h"
#include "skep/index/table.h"

namespace skep::dedupe {

// Counts the extents of a window and, with FingerprintKind::kCsum, puts all their stored checksums
// into `table`. `stop` is asked now and then; true from it ends the scan with CANCELLED.
absl::StatusOr<Census> scan(btrfs::Filesystem& fs, const index::Fingerprinter& fingerprinter,
                            Window window, index::Table& table, const std::function<bool()>& stop);

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

  // From the extent at or behind address `start` on; `reached` is called now and then with where it
  // would go on. CANCELLED when `stop` said so.
  absl::Status run(Window window, std::uint64_t start, const std::function<bool()>& stop,
                   const std::function<void(std::uint64_t)>& reached);

 private:
  void index(const FingerprintedExtent& extent);
  void count(const FingerprintedExtent& extent);
};

}  // namespace skep::dedupe
