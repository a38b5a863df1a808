// SPDX-License-Identifier: MIT
//
// Plans how an extent goes: all its references, each block of each of them.
//
// A block of the victim that is referenced is one of: shared (a keeper's file holds it), hole
// (zeros), or remnant (copied once, to a temporary file). A block that nobody refers to is dead and
// costs nothing. A file's last block, when the file ends inside it, is a tail: the kernel shares it
// only with a tail that ends at the same byte, so it needs such a keeper, or is copied to a file
// that ends there.
//
// Gain rule: the plan is taken when copied <= max_copy_ratio * (length - copied), and when what it
// frees is more than what it adds to metadata. Victims whose references lie in the same leaves are
// judged together, as a group.
//
// Thread-compatible: one batch at a time, in the order of the crawl.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/status.h>

#include <functional>
#include <optional>
#include <vector>

#include "skep/dedupe/counters.h"
#include "skep/dedupe/keeper_catalog.h"
#include "skep/dedupe/metadata_price.h"
#include "skep/dedupe/pace.h"
#include "skep/dedupe/resolver.h"
#include "skep/dedupe/roles.h"
#include "skep/dedupe/strangers.h"
#include "skep/dedupe/types.h"
#include "skep/index/content_cache.h"
#include "skep/index/table.h"

namespace skep::dedupe {

class PlanStage {
 public:
  struct Parts {
    btrfs::Filesystem& fs;
    const index::Fingerprinter& fingerprinter;
    index::Table& table;
    index::ContentCache& contents;
    Resolver& resolver;
    KeeperCatalog& catalog;
    MetadataPrice& price;
    Roles& roles;
    Strangers& strangers;
    Counters& counters;
    Options options;
    std::function<void()> kept;  // called when an extent that was thought gone stays
    Steps steps = {};
  };
  explicit PlanStage(Parts parts) : p_(std::move(parts)), block_(p_.fs.info().block_size) {}

  // Moves batch.matches to batch.plans (those to carry out) and batch.left.
  absl::Status run(Batch& batch);

 private:
  struct Draft {
    Match match;
    ReplacementPlan plan;
    MetadataPrice::Needs needs;
    std::vector<Reference> references;
    std::uint64_t gain_bytes = 0;
  };
  std::optional<Draft> draft(Match match, Batch& batch);
  // Takes out lone runs whose blocks differ, where strangers with an equal checksum are frequent.
  void drop_strangers(Match& match, const std::vector<Reference>& references);
  bool is_stranger(const Run& run, const Reference& reference);
  void remember_tails(const FingerprintedExtent& victim, const std::vector<Reference>& references);
  // True when the victim is put off until the keepers that hold it in dead space had their turn.
  bool put_off(const Match& match, const std::vector<Keeper>& dead_keepers, Batch& batch);
  // Takes groups of drafts that pay for their metadata.
  void choose(std::vector<Draft> drafts, Batch& batch);
  void refuse(const Match& match, const std::vector<Reference>& references, Verdict verdict,
              Batch& batch);
  std::vector<NewBlock> blocks_of(const FingerprintedExtent& victim) const;
  // Puts what the match stage took out of table and caches into them again.
  void index(const FingerprintedExtent& victim, const std::vector<Reference>& references);

  Parts p_;
  const std::uint64_t block_;
};

}  // namespace skep::dedupe
