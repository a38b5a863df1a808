// SPDX-License-Identifier: MIT
//
// Fingerprints from the csum tree. Pure but for the filesystem; thread-safe as that is.
#pragma once

#include <absl/status/status.h>

#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/types.h"

namespace skep::dedupe {

// Of each block on disk of `extents`, which come in ascending address order. A result with no
// blocks has no checksums. Extents that lie near each other share one search.
absl::Status read_csums(btrfs::Filesystem& fs, const index::Fingerprinter& fingerprinter,
                        std::vector<btrfs::Extent> extents, std::vector<FingerprintedExtent>& out);

}  // namespace skep::dedupe
