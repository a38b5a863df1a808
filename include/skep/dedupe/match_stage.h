// SPDX-License-Identifier: MIT
//
// Finds what of an extent is stored elsewhere, and decides who of two equals goes.
//
//   1. Runs are found block by block (RunFinder). A compressed extent in a quick pass matches only
//      another one that is compressed alike, whole.
//   2. Settled are extents that stay: the crawl has gone by them, or they are keepers already.
//      They are asked first, and when they cover nearly all, they alone: an unsettled extent that
//      becomes a keeper for a few blocks cannot go any more. Else the extent goes when that frees
//      more than staying and letting the unsettled ones go to it would. What is not covered may be
//      dead space, which going frees too: then the plan stage, which sees references, decides.
//      One that would go for its zeros alone goes at once.
//   3. An extent that covers smaller, settled ones whole takes their place when it stays, or when
//      that frees as much with less to copy: they are taken up at once as victims (role swap).
//
// The filter decides along: an extent with excluded references never goes. Others go to it when it
// has more than those, as if it were settled, whenever the crawl meets it.
//
// What is decided here rests on checksums alone; the plan stage looks at the references and may
// still refuse. Thread-compatible: one batch at a time, in the order of the crawl.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <vector>

#include "skep/dedupe/counters.h"
#include "skep/dedupe/crawl.h"
#include "skep/dedupe/fingerprint_stage.h"
#include "skep/dedupe/pace.h"
#include "skep/dedupe/resolver.h"
#include "skep/dedupe/roles.h"
#include "skep/dedupe/run_finder.h"
#include "skep/dedupe/types.h"
#include "skep/index/content_cache.h"
#include "skep/index/table.h"

namespace skep::dedupe {

class MatchStage {
 public:
  // All borrowed; they outlive the stage.
  struct Parts {
    btrfs::Filesystem& fs;
    const index::Fingerprinter& fingerprinter;
    index::Table& table;
    index::ContentCache& contents;
    FingerprintStage& loader;  // this stage's own
    Resolver& resolver;        // the same, or the loader's: for the filter
    Roles& roles;
    const Strangers& strangers;
    Counters& counters;
    Options options;
    Steps steps = {};
  };
  MatchStage(const Parts& parts, PassKind pass, Window window);

  // Moves batch.fingerprinted to batch.matches (those to plan) and batch.left.
  void run(Batch& batch);
  // See RunFinder.
  void expect_changes() { finder_.expect_changes(); }

 private:
  bool speaks_later(const FingerprintedExtent& extent) const;
  void retry(const FingerprintedExtent& extent, Batch& batch);
  void take_up(FingerprintedExtent extent, Batch& batch, bool may_swap);
  void leave(const FingerprintedExtent& extent, Verdict verdict, Batch& batch);
  void defer_keeper(const FingerprintedExtent& extent, Batch& batch);
  void count_scanned(const btrfs::Extent& extent);
  Match match(FingerprintedExtent victim);
  void match_alike(Match& match);
  void match_blocks(Match& match);
  void find_more(Match& match);
  std::uint32_t count_zeros(const Match& match) const;
  bool settled(const Keeper& keeper, std::uint64_t generation) const;
  bool serves(const Keeper& keeper);
  bool serves_settled(const Keeper& keeper, std::uint64_t generation);
  Verdict decide(const Match& match) const;
  Verdict decide_filtered(const Match& match) const;
  void commit_victim(Match& match);
  std::vector<FingerprintedExtent> to_swap(const Match& match);
  std::vector<FingerprintedExtent> covered_whole(const Match& match);
  void ensure_in_table(const FingerprintedExtent& extent);

  const Parts p_;
  const PassKind pass_;
  const Window window_;
  const std::uint64_t block_;
  RunFinder finder_;
  Cursor position_;          // of the extent being matched
  bool kept_apart_ = false;  // from some copy of it, by the filter
  std::uint64_t stays_ = 0;  // address of the extent for which others are swapped; it is settled
};

}  // namespace skep::dedupe
