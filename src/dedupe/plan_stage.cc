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

index::Fingerprint only_fingerprint(const Match& match) {
  index::Fingerprint only = index::kNoFingerprint;
  for (const Run& run : match.runs) {
    for (std::uint32_t i = run.first; i < run.first + run.blocks; ++i) {
      if (only == index::kNoFingerprint) only = match.victim.blocks[i];
      if (match.victim.blocks[i] != only) return index::kNoFingerprint;
    }
  }
  return only;
}

}  // namespace

absl::Status PlanStage::run(Batch& batch) {
  auto matches = std::exchange(batch.matches, {});
  if (matches.empty()) return absl::OkStatus();
  const Stopwatch watch(p_.counters.nanos_plan);
  if (auto status = p_.resolver.refresh(); !status.ok()) return status;
  std::vector<Draft> drafts;
  for (auto& match : matches) {
    p_.steps.wait();
    if (auto one = draft(std::move(match), batch)) drafts.push_back(*std::move(one));
  }
  choose(std::move(drafts), batch);
  return absl::OkStatus();
}

// Undoes what the match stage committed: the extent stays and can be a keeper. What was pinned for
// it is let go last: the match stage, which works meanwhile, puts such extents off, and shall find
// this one whole when it no longer does.
void PlanStage::refuse(const Match& match, const std::vector<Reference>& references,
                       Verdict verdict, Batch& batch) {
  const FingerprintedExtent& victim = match.victim;
  const btrfs::Extent& extent = victim.extent;
  spdlog::debug("extent {:#x} (+{}): left, {}", extent.address, extent.length, name_of(verdict));
  batch.left.push_back({extent, verdict});
  // Extents that can never be read as a source are not worth their cells.
  if (verdict != Verdict::kCompressed && verdict != Verdict::kNodatasum) {
    p_.kept();
    index(victim, references);
  }
  p_.roles.clear_going(extent.address);
  for (const std::uint64_t keeper : match.keepers) p_.roles.unpin(keeper);
}

// What the match stage took out of the table.
std::vector<NewBlock> PlanStage::blocks_of(const FingerprintedExtent& victim) const {
  std::vector<NewBlock> out;
  const auto add = [&](index::Fingerprint fingerprint, std::uint64_t address) {
    if (p_.table.sampled(fingerprint)) out.push_back({fingerprint, address});
  };
  for (std::size_t i = 0; i < victim.blocks.size(); ++i) {
    if (p_.fingerprinter.is_zero(victim.blocks[i])) continue;
    add(victim.blocks[i], victim.cell_address(i, block_));
  }
  for (std::size_t i = 0; i < victim.stored.size(); ++i) {
    add(victim.stored[i], victim.extent.address + i * block_);
  }
  return out;
}

void PlanStage::index(const FingerprintedExtent& victim, const std::vector<Reference>& references) {
  const btrfs::Extent& extent = victim.extent;
  for (const NewBlock& block : blocks_of(victim)) p_.table.insert(block.fingerprint, block.address);
  const bool was_read =
      victim.read && std::any_of(victim.blocks.begin(), victim.blocks.end(),
                                 [](auto f) { return f != index::kNoFingerprint; });
  if (was_read) {
    p_.contents.insert({extent.address, extent.length, victim.blocks.size() * block_,
                        extent.generation, extent.refs, victim.kind},
                       0, victim.blocks);
  }
  remember_tails(victim, references);
}

void PlanStage::remember_tails(const FingerprintedExtent& victim,
                               const std::vector<Reference>& references) {
  const btrfs::Extent& extent = victim.extent;
  for (const Reference& reference : references) {
    const std::uint64_t in_file = reference.file_size - reference.file_offset;
    if (reference.file_size <= reference.file_offset || in_file >= reference.length) continue;
    const std::uint64_t at = (reference.extent_offset + in_file) / block_;
    const auto tail = static_cast<std::uint32_t>(in_file % block_);
    if (tail == 0 || at >= victim.blocks.size()) continue;
    const std::uint64_t address = extent.address + at * block_;
    p_.table.insert(index::tail_fingerprint(victim.blocks[at], tail), address);
    Reference of_block = reference;
    of_block.file_offset = reference.file_size - tail;
    of_block.extent_offset = at * block_;
    of_block.length = block_;
    p_.catalog.add({address, extent.address, of_block});
  }
}

// Reads both: one failed compare, and no plan that fails because of it.
bool PlanStage::is_stranger(const Run& run, const Reference& reference) {
  const auto source = p_.catalog.find(run.keeper, run.source, block_);
  if (!source) return false;  // the plan will find out
  std::vector<std::byte> a(block_), b(block_);
  const auto read = [&](const btrfs::FileHandle& key, std::uint64_t offset,
                        std::vector<std::byte>& out) {
    auto file = p_.fs.open(key);
    if (!file.ok()) return false;
    auto got = (*file)->read(offset, out);
    return got.ok() && *got == out.size();
  };
  const std::uint64_t offset = reference.file_offset + run.first * block_ - reference.extent_offset;
  if (!read(source->file, source->offset, a) || !read(reference.file, offset, b)) return false;
  ++p_.counters.lone_read;
  p_.counters.bytes_read_asked += 2 * block_;
  if (a == b) return false;
  p_.strangers.met(a, b);
  return true;
}

void PlanStage::drop_strangers(Match& match, const std::vector<Reference>& references) {
  if (p_.fingerprinter.bits() > 32) return;
  const bool any =
      std::any_of(match.runs.begin(), match.runs.end(), [](const Run& run) { return run.lone; });
  const double strangers = static_cast<double>(p_.table.usage().cells) / 4294967296.0;
  if (!any || strangers < limits::kStrangersFrequent) return;
  std::erase_if(match.runs, [&](const Run& run) {
    if (!run.lone) return false;
    if (p_.strangers.frequent(match.victim.blocks[run.first])) return true;
    const auto holds = [&](const Reference& r) {
      const std::uint64_t at = run.first * block_;
      return at >= r.extent_offset && at + block_ <= r.extent_offset + r.length;
    };
    const auto reference = std::find_if(references.begin(), references.end(), holds);
    if (reference == references.end() || !is_stranger(run, *reference)) return false;
    ++p_.counters.lone_strangers;
    return true;
  });
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
  if (resolved.kind != match.victim.kind) {
    // The fingerprint stage could not tell, or the user did not ask for those without checksums.
    const bool nodatasum = resolved.kind.nodatasum != match.victim.kind.nodatasum;
    refuse(match, resolved.references, nodatasum ? Verdict::kNodatasum : Verdict::kCompressed,
           batch);
    return std::nullopt;
  }
  drop_strangers(match, resolved.references);
  const std::uint64_t errors = p_.catalog.errors();
  Draft out;
  PlanBuilder builder(match, resolved.references, p_.catalog, p_.roles, p_.table, p_.fingerprinter,
                      block_, p_.options.min_run_bytes);
  const bool built = builder.build(out.plan);
  match.keepers.insert(match.keepers.end(), builder.pinned().begin(), builder.pinned().end());
  // Not all that could serve was seen. Once more, and then with what there is, should that pay.
  const bool hidden = p_.catalog.errors() != errors;
  if (hidden) {
    for (const Run& run : match.runs) p_.catalog.forget(run.keeper.address, run.keeper.disk_length);
  }
  const auto give_up = [&](Verdict verdict) {
    refuse(match, resolved.references, hidden ? Verdict::kFailed : verdict, batch);
    return std::nullopt;
  };
  if (!built || (hidden && !batch.revisit)) return give_up(Verdict::kChanged);
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
    return give_up(verdict);
  }
  out.gain_bytes = length - copied;
  if (!going_frees_more(out.gain_bytes, match.staying_frees_bytes)) {
    return give_up(Verdict::kKeeper);
  }
  out.needs = p_.price.needs(resolved.references, out.plan.shares.size());
  out.references = std::move(resolved.references);
  out.plan.keepers = match.keepers;
  out.plan.victim_blocks = blocks_of(match.victim);
  out.plan.only_fingerprint = only_fingerprint(match);
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
