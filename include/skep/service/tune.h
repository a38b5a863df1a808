// SPDX-License-Identifier: MIT
//
// `skep tune`: what a run would free with tables of several sizes, and the smallest that serves.
// The tables are filled side by side in one scan, in memory, then each is tried. Nothing is
// written. Thread-compatible.
#pragma once

#include <absl/status/status.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "skep/btrfs/types.h"
#include "skep/index/table.h"
#include "skep/service/estimate.h"
#include "skep/service/progress.h"

namespace skep::service {

struct TriedTable {
  std::uint64_t bytes = 0;
  index::Table::Usage usage;
  std::uint64_t freed_bytes = 0, margin_bytes = 0;
};

struct Tuning {
  // Of what the largest table leads to, the recommended one may miss so much.
  static constexpr double kMayMiss = 0.02;
  // Tables beyond this are not tried.
  static constexpr std::uint64_t kMostBytes = 256ULL << 20;

  btrfs::Uuid filesystem{};
  std::uint64_t data_bytes = 0, extents = 0;
  std::uint64_t one_in = 1;
  std::uint64_t full_table_bytes = 0;
  std::vector<TriedTable> tables;  // smallest first
  std::size_t recommended = 0;     // of `tables`
  double seconds = 0;

  const TriedTable& recommendation() const { return tables[recommended]; }
  // Of the recommended size, at the same density.
  std::uint64_t bytes_per_tib() const;
};

using TuneResult = LookResult<Tuning>;

// Sizes to try for so much data: each four times the one before, up to one with a cell for each
// block.
std::vector<std::uint64_t> table_sizes(std::uint64_t data_bytes, std::uint32_t block_size);
// The smallest that misses at most Tuning::kMayMiss of what the best one leads to.
std::size_t recommend(const std::vector<TriedTable>& tables);

TuneResult tune(const EstimateOptions& options, Progress& progress, const std::atomic<bool>& stop);

}  // namespace skep::service
