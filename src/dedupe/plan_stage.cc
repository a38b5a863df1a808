// SPDX-License-Identifier: MIT
#include "skep/dedupe/plan_stage.h"

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "plan_builder.h"
#include "skep/dedupe/crawl.h"
#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

// Freed bytes must exceed the price by this factor: the estimate of leaves is rough.
constexpr double kPriceMargin = 1.5;

}  // namespace

absl::Status PlanStage::run(Batch& batch) {
  auto matches = std::exchange(batch.matches, {});
  if (matches.empty()) return absl::OkStatus();
  const Stopwatch watch(p_.counters.nanos_plan);
  if (auto status = p_.resolver.refresh(); !status.ok()) return status;
  std::vector<Draft> drafts;
  for (auto& match : matches) {
    if (auto one = draft(std::move(match), batch)) drafts.push_back(*std::move(one));
  }
  choose(std::move(drafts), batch);
  return absl::OkStatus();
}

// Undoes what the match stage committed: the extent stays and can be a keeper.
void PlanStage::refuse(const Match& match, const std::vector<Reference>& references,
                       Verdict verdict, Batch& batch) {
  const auto& [extent, blocks] = match.victim;
  for (const std::uint64_t keeper : match.keepers) p_.roles.unpin(keeper);
  p_.roles.clear_going(extent.address);
  spdlog::debug("extent {:#x} (+{}): left, {}", extent.address, extent.length, name_of(verdict));
  batch.left.push_back({extent, verdict});
  // Extents that can never be read as a source are not worth their cells.
  if (verdict == Verdict::kCompressed || verdict == Verdict::kNodatasum) return;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i] == p_.fingerprinter.zero()) continue;
    p_.table.insert(blocks[i], extent.address + i * block_);
  }
  for (const Reference& reference : references) {
    const std::uint64_t in_file = reference.file_size - reference.file_offset;
    if (reference.file_size <= reference.file_offset || in_file >= reference.length) continue;
    const std::uint64_t at = (reference.extent_offset + in_file) / block_;
    const auto tail = static_cast<std::uint32_t>(in_file % block_);
    if (tail == 0 || at >= blocks.size()) continue;
    const std::uint64_t address = extent.address + at * block_;
    p_.table.insert(index::tail_fingerprint(blocks[at], tail), address);
    Reference of_block = reference;
    of_block.file_offset = reference.file_size - tail;
    of_block.extent_offset = at * block_;
    of_block.length = block_;
    p_.catalog.add({address, extent.address, of_block});
  }
  p_.kept();
}

// A keeper whose dead space holds what the victim needs is the better victim: this one holds all
// that lives of it. Both are looked at again after the crawl, the keeper as one that may go.
bool PlanStage::put_off(const Match& match, const std::vector<Keeper>& dead_keepers, Batch& batch) {
  const bool revisited = batch.tier == kTierMinBytes.size();
  if (revisited || dead_keepers.empty()) return false;
  const auto& extent = match.victim.extent;
  if (!p_.roles.defer(extent.address, extent.length)) return false;
  for (const Keeper& keeper : dead_keepers) p_.roles.defer(keeper.address, keeper.length);
  refuse(match, {}, Verdict::kKeeper, batch);
  // It leaves the pipeline when it is revisited, not now.
  batch.left.pop_back();
  --p_.counters.extents_scanned;
  p_.counters.bytes_scanned -= extent.length;
  return true;
}

std::optional<PlanStage::Draft> PlanStage::draft(Match match, Batch& batch) {
  Resolved resolved = p_.resolver.resolve(match.victim.extent);
  if (resolved.verdict != Verdict::kFreed) {
    refuse(match, resolved.references, resolved.verdict, batch);
    return std::nullopt;
  }
  Draft out;
  PlanBuilder builder(match, resolved.references, p_.catalog, p_.roles, p_.table,
                      p_.fingerprinter.zero(), block_, p_.options.min_run_bytes);
  const bool built = builder.build(out.plan);
  match.keepers.insert(match.keepers.end(), builder.pinned().begin(), builder.pinned().end());
  if (!built) {
    refuse(match, resolved.references, Verdict::kChanged, batch);
    return std::nullopt;
  }
  const std::uint64_t length = match.victim.extent.length;
  const std::uint64_t copied = out.plan.copied_bytes;
  const double most =
      p_.options.max_copy_ratio * static_cast<double>(length - std::min(length, copied));
  if (copied > length / 16 && put_off(match, builder.dead_keepers(), batch)) return std::nullopt;
  const bool gains = copied < length && static_cast<double>(copied) <= most;
  if (!gains || builder.shared_blocks() == 0) {
    Verdict verdict = Verdict::kCopyRatio;
    if (builder.copied_only_tails(out.plan)) verdict = Verdict::kTailOnly;
    if (builder.had_short_runs()) verdict = Verdict::kShortRuns;
    refuse(match, resolved.references, verdict, batch);
    return std::nullopt;
  }
  out.gain_bytes = length - copied;
  if (!going_frees_more(out.gain_bytes, match.staying_frees_blocks * block_)) {
    refuse(match, resolved.references, Verdict::kKeeper, batch);
    return std::nullopt;
  }
  out.needs = p_.price.needs(resolved.references, out.plan.shares.size());
  out.references = std::move(resolved.references);
  out.plan.keepers = match.keepers;
  const double ratio = p_.options.max_copy_ratio;
  out.plan.most_copied_bytes =
      static_cast<std::uint64_t>(ratio / (1 + ratio) * static_cast<double>(length));
  out.match = std::move(match);
  return out;
}

void PlanStage::choose(std::vector<Draft> drafts, Batch& batch) {
  // Drafts that need the same leaves stand or fall together. Small files of one neighbourhood have
  // the same leaf in the first snapshot, so that one is the group's name.
  struct Group {
    std::vector<Draft*> members;
    absl::btree_set<MetadataPrice::Leaf> leaves;
    std::uint64_t gain = 0, new_items = 0;
  };
  absl::btree_map<MetadataPrice::Leaf, Group> groups;
  std::uint64_t alone = 0;
  for (Draft& draft : drafts) {
    // Those that unshare nothing have nobody to share the price with.
    const MetadataPrice::Leaf name = draft.needs.leaves.empty() ? MetadataPrice::Leaf{0, 0, alone++}
                                                                : draft.needs.leaves.front();
    Group& group = groups[name];
    group.members.push_back(&draft);
    group.leaves.insert(draft.needs.leaves.begin(), draft.needs.leaves.end());
    group.gain += draft.gain_bytes;
    group.new_items += draft.needs.new_items;
  }
  std::vector<Draft*> taken;
  for (auto& [name, group] : groups) {
    const std::uint64_t price = p_.price.price(group.leaves.size(), group.new_items);
    const bool pays = static_cast<double>(group.gain) > kPriceMargin * static_cast<double>(price);
    for (Draft* draft : group.members) {
      if (!pays) {
        refuse(draft->match, draft->references, Verdict::kMetadataPrice, batch);
        continue;
      }
      draft->plan.price_bytes = price / group.members.size();
      p_.price.unshared(draft->needs);
      for (const std::uint64_t keeper : draft->plan.keepers) p_.roles.remember(keeper);
      taken.push_back(draft);
    }
  }
  // Reads go in physical order.
  std::sort(taken.begin(), taken.end(), [](const Draft* a, const Draft* b) {
    return a->plan.victim.address < b->plan.victim.address;
  });
  for (Draft* draft : taken) batch.plans.push_back(std::move(draft->plan));
}

}  // namespace skep::dedupe
