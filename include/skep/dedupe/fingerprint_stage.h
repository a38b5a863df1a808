// SPDX-License-Identifier: MIT
//
// Gives each extent of a batch the fingerprints of its blocks, from the csum tree. Extents that lie
// near each other share one search. Also the scan that fills the table before a pass: with every
// block known, an extent whose copy comes later in the crawl is decided rightly the first time.
#pragma once

#include <absl/status/status.h>

#include <functional>
#include <span>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/crawl.h"
#include "skep/dedupe/types.h"
#include "skep/index/table.h"

namespace skep::dedupe {

// Thread-safe: holds no state.
class FingerprintStage {
 public:
  FingerprintStage(btrfs::Filesystem& fs, const index::Fingerprinter& fingerprinter)
      : fs_(fs), fingerprinter_(fingerprinter) {}

  // Moves batch.extents to batch.fingerprinted.
  absl::Status run(Batch& batch) const;
  // Fingerprints of extents in ascending address order; a result with no blocks has no checksums.
  absl::Status fingerprint(std::vector<btrfs::Extent> extents,
                           std::vector<FingerprintedExtent>& out) const;

 private:
  btrfs::Filesystem& fs_;
  const index::Fingerprinter& fingerprinter_;
};

// Counts the extents of a window and puts all their blocks into `table`. `stop` is asked now and
// then; true from it ends the scan with CANCELLED.
absl::StatusOr<Census> scan(btrfs::Filesystem& fs, const index::Fingerprinter& fingerprinter,
                            Window window, index::Table& table, const std::function<bool()>& stop);
}  // namespace skep::dedupe
