// SPDX-License-Identifier: MIT
//
// What a run would free, from metadata alone. The stages of a run decide, up to the plans; then a
// plan is taken to succeed, on an ImaginedFilesystem, and rounds follow over what would have been
// copied, as a run makes them. Nothing is written, no data is read.
//
//   1. survey(): one scan over all extents fills the tables and counts.
//   2. imagine(): the rounds, with one of the tables. On a large filesystem not all of the small
//      extents are looked at, but each against everything: what they free tells of the whole
//      (GainLedger).
//
// What has to be read to be matched (compressed extents that are not compressed alike, nodatasum)
// is counted apart. Lone blocks that a run would read to tell strangers are believed: with 32-bit
// checksums a few in a hundred extents of 8 KiB may count too much (see man/skep-estimate.1).
//
// Functions; nothing is shared. CANCELLED when `stop` became true, other errors are the kernel's.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <atomic>
#include <cstdint>
#include <span>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/counters.h"
#include "skep/dedupe/crawl.h"
#include "skep/dedupe/gain_ledger.h"
#include "skep/dedupe/imagined_filesystem.h"
#include "skep/dedupe/types.h"
#include "skep/index/table.h"

namespace skep::dedupe {

struct EstimateParts {
  btrfs::Filesystem& fs;
  const index::Fingerprinter& fingerprinter;
  Options options;
  const std::atomic<bool>& stop;
};

// What there is.
struct Survey {
  std::uint64_t generation = 0;
  Census census;
  Stretches stretches;
  std::uint64_t extents = 0, bytes = 0;
  std::uint64_t no_checksum_extents = 0, no_checksum_bytes = 0;
  std::uint64_t shared_bytes = 0;  // extents that files refer to more than once
  std::uint64_t saved_bytes = 0;   // what they would take more, were each reference a copy
};

absl::StatusOr<Survey> survey(const EstimateParts& parts, std::span<index::Table* const> tables,
                              Counters& progress);

// What of it a sample takes.
Census census_of(const Survey& survey, const Sample& sample);

// How large a part of the small extents to take, one in how many, so that a TiB takes less than a
// minute on 2 cores of 2020.
std::uint64_t default_one_in(const Survey& survey);

// The rounds of a run from here, with a table that holds what the survey found. `counters` begin at
// 0. `places`: gains are told apart by subvolume and folder, too.
absl::StatusOr<GainTotals> imagine(const EstimateParts& parts, const Survey& survey,
                                   index::Table& table, const Sample& sample, bool places,
                                   Counters& counters);

// The size at which a table has a cell for each block, at 7/8 fill: nothing is left out then.
std::uint64_t full_table_bytes(std::uint64_t data_bytes, std::uint32_t block_size);

}  // namespace skep::dedupe
