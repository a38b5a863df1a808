// SPDX-License-Identifier: MIT
//
// Builds the plan for one victim, block by block. A helper of PlanStage; lives for one victim.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "skep/dedupe/keeper_catalog.h"
#include "skep/dedupe/roles.h"
#include "skep/dedupe/types.h"
#include "skep/index/table.h"

namespace skep::dedupe {

class PlanBuilder {
 public:
  // All borrowed for the builder's life.
  PlanBuilder(const Match& match, const std::vector<Reference>& references, KeeperCatalog& catalog,
              Roles& roles, const index::Table& table, const index::Fingerprinter& fingerprinter,
              std::uint64_t block, std::uint64_t min_run_bytes);

  // False when a reference cannot be replaced at all (it lies past the end of its file).
  bool build(ReplacementPlan& plan);
  // Blocks that are shared or become holes; without tails.
  std::uint64_t shared_blocks() const { return shared_blocks_; }
  // Extents that it pinned beyond the match's keepers, for their tails; each wants an unpin.
  const std::vector<std::uint64_t>& pinned() const { return pinned_; }
  // Keepers in which a block of the victim lies where no file can be read: dead space.
  const std::vector<Keeper>& dead_keepers() const { return dead_keepers_; }
  bool had_short_runs() const { return had_short_runs_; }
  bool copied_only_tails(const ReplacementPlan& plan) const {
    return plan.copies.empty() && !plan.tails.empty();
  }

 private:
  struct BlockSource {
    bool set = false;
    SourceKind kind = SourceKind::kFile;
    btrfs::FileHandle file;
    std::uint64_t offset = 0;
  };
  struct Tail {
    std::uint32_t block = 0;   // of the victim
    std::uint32_t length = 0;  // of the file, inside it
    Share source;              // kind, source and source_offset of shares with it
  };
  struct Span {  // of a reference: whole blocks [first, end) of the victim, and the tail after them
    std::uint32_t first = 0, end = 0;
    std::uint32_t tail_length = 0;
  };
  // None where a block of it cannot be replaced.
  std::optional<Span> span_of(const Reference& reference) const;
  void find_needed();
  void source_runs();
  void source_zeros();
  void copy_rest(ReplacementPlan& plan);
  std::uint64_t copies_on_disk(std::uint64_t content_bytes) const;
  const Tail& tail_for(const Reference& reference, std::uint32_t block, std::uint32_t length,
                       ReplacementPlan& plan);
  bool is_own(const Source& source) const;
  Tail find_tail(std::uint32_t block, std::uint32_t length);
  void share_reference(const Reference& reference, const Span& span, ReplacementPlan& plan);

  const Match& match_;
  const std::vector<Reference>& references_;
  KeeperCatalog& catalog_;
  Roles& roles_;
  const index::Table& table_;
  const index::Fingerprinter& fingerprinter_;
  const std::uint64_t block_;
  const std::uint64_t min_run_bytes_;
  std::vector<BlockSource> sources_;
  std::vector<Span> spans_;   // of the references, in their order
  std::vector<bool> needed_;  // some reference holds the block whole
  std::vector<Tail> tails_;
  std::vector<std::uint64_t> pinned_;
  std::vector<Keeper> dead_keepers_;
  std::uint64_t shared_blocks_ = 0;
  bool had_short_runs_ = false;
};

}  // namespace skep::dedupe
