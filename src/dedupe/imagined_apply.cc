// SPDX-License-Identifier: MIT
#include "skep/dedupe/imagined_apply.h"

#include <utility>
#include <vector>

namespace skep::dedupe {

void ImaginedApply::copy_blocks(Batch& batch) {
  std::vector<index::Fingerprint> blocks;
  for (const ReplacementPlan& plan : batch.plans) {
    blocks.insert(blocks.end(), plan.copy_fingerprints.begin(), plan.copy_fingerprints.end());
  }
  if (blocks.empty()) return;
  const std::uint64_t address = fs_.add_copies(blocks);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    batch.new_blocks.push_back({blocks[i], address + i * block_});
  }
}

// Of tails the table and the catalog learn, for files that end alike. As extents they do not show:
// a tail that is alone is copied because nothing equals it.
void ImaginedApply::copy_tails(Batch& batch) {
  std::uint64_t tails = 0;
  for (const ReplacementPlan& plan : batch.plans) tails += plan.tails.size();
  if (tails == 0) return;
  const std::uint64_t extent = fs_.reserve(tails);
  std::uint64_t at = extent;
  for (const ReplacementPlan& plan : batch.plans) {
    for (const Share& share : plan.shares) {
      if (share.kind != SourceKind::kTailCopy) continue;
      const std::uint64_t address = at + share.source_offset * block_;
      batch.new_blocks.push_back({plan.tail_fingerprints[share.source_offset], address});
      batch.new_references.push_back({address,
                                      extent,
                                      {share.target, share.target_offset, address - extent, block_,
                                       share.target_offset + share.length}});
    }
    at += plan.tails.size() * block_;
  }
}

void ImaginedApply::conclude(ReplacementPlan& plan, Batch& batch) {
  ledger_.add(plan);
  fs_.remove(plan.victim);
  fs_.grow_metadata(plan.price_bytes);
  Outcome outcome;
  outcome.victim = std::move(plan.victim);
  outcome.copied_bytes = plan.copied_bytes;
  outcome.duplicate_bytes = plan.duplicate_bytes;
  outcome.zero_bytes = plan.zero_bytes;
  outcome.fragments = plan.fragments;
  outcome.price_bytes = plan.price_bytes;
  outcome.keepers = std::move(plan.keepers);
  batch.outcomes.push_back(std::move(outcome));
}

absl::Status ImaginedApply::run(Batch& batch) {
  copy_blocks(batch);
  copy_tails(batch);
  for (ReplacementPlan& plan : std::exchange(batch.plans, {})) conclude(plan, batch);
  return absl::OkStatus();
}

}  // namespace skep::dedupe
