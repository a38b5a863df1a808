// SPDX-License-Identifier: MIT
//
// Finds what of an extent is stored elsewhere, and decides who of two equals goes.
//
//   1. For each block not yet covered, candidates come from the locality cache, then the table.
//   2. A candidate is extended both ways by comparing fingerprints, not data, within its extent.
//      The longest run wins; of equals the one with the fewest references.
//   3. Settled are extents that stay: the crawl has gone by them, or they are keepers already.
//      They are asked first, and when they cover nearly all, they alone: an unsettled extent that
//      becomes a keeper for a few blocks cannot go any more. Else the extent goes when that frees
//      more than staying and letting the unsettled ones go to it would. What is not covered may be
//      dead space, which going frees too: then the plan stage, which sees references, decides.
//      One that would go for its zeros alone goes at once.
//   4. An extent that covers smaller, settled ones whole takes their place when it stays, or when
//      that frees as much with less to copy: they are taken up at once as victims (role swap).
//
// What is decided here rests on checksums alone; the plan stage looks at the references and may
// still refuse. Thread-compatible: one batch at a time, in the order of the crawl.
#pragma once

#include <absl/status/status.h>

#include <atomic>
#include <cstdint>
#include <vector>

#include "skep/dedupe/counters.h"
#include "skep/dedupe/crawl.h"
#include "skep/dedupe/roles.h"
#include "skep/dedupe/types.h"
#include "skep/index/locality_cache.h"
#include "skep/index/table.h"

namespace skep::dedupe {

class MatchStage {
 public:
  // All borrowed; they outlive the stage.
  MatchStage(btrfs::Filesystem& fs, const index::Fingerprinter& fingerprinter, index::Table& table,
             Roles& roles, Counters& counters, const Options& options, Window window);

  // Moves batch.fingerprinted to batch.matches (those to plan) and batch.left.
  void run(Batch& batch);
  // Later stages call this, from any thread, when extents came or stayed that were thought gone.
  void expect_changes() { changes_ = true; }

 private:
  struct Candidate {
    Run run;
    bool in_use = false;  // a keeper already: better one keeper than two
    std::uint64_t refs = 0;
  };
  void take_up(FingerprintedExtent extent, Batch& batch, bool may_swap);
  void count_scanned(const btrfs::Extent& extent);
  Match match(FingerprintedExtent victim);
  // Runs of blocks [first, end) that no run covers yet.
  void find_runs(const FingerprintedExtent& victim, std::uint32_t first, std::uint32_t end,
                 bool settled_only, std::vector<Run>& out);
  std::uint32_t count_zeros(const Match& match) const;
  Candidate longest_run(const FingerprintedExtent& victim, std::uint32_t at, std::uint32_t covered,
                        std::uint32_t end);
  bool consider(const FingerprintedExtent& victim, std::uint32_t at, std::uint32_t covered,
                std::uint32_t end, std::uint64_t address, Candidate& best);
  Run extend(const FingerprintedExtent& victim, std::uint32_t at, std::uint32_t covered,
             std::uint32_t end, std::uint64_t address, const Keeper& keeper);
  void trim_zeros(const FingerprintedExtent& victim, Run& run) const;
  bool settled(const btrfs::Extent& keeper) const;
  Verdict decide(const Match& match) const;
  void commit_victim(Match& match);
  std::vector<FingerprintedExtent> to_swap(const Match& match);
  std::vector<FingerprintedExtent> covered_whole(const Match& match);
  void ensure_in_table(const FingerprintedExtent& extent);

  const index::Fingerprinter& fingerprinter_;
  index::Table& table_;
  index::LocalityCache cache_;
  Roles& roles_;
  Counters& counters_;
  const Options options_;
  const Window window_;
  const std::uint64_t block_;
  Cursor position_;                 // of the extent being matched
  std::uint64_t window_loads_ = 0;  // still allowed for this extent
  std::uint64_t used_keeper_ = 0;   // by the last run
  bool settled_only_ = false;
  std::uint64_t stays_ = 0;  // address of the extent for which others are swapped; it is settled
  std::atomic<bool> changes_ = false;
};

}  // namespace skep::dedupe
