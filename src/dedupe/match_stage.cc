// SPDX-License-Identifier: MIT
#include "skep/dedupe/match_stage.h"

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <utility>

#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

using index::kNoFingerprint;

// Settled extents that cover all but so much of what they cover are enough.
constexpr double kSettledEnough = 0.25;
// An extent whose dead space is not known yet may copy less than it seems: it is looked at when it
// comes within this factor of the ratio.
constexpr double kDeadSpaceHope = 16;
// An extent of which less than this part is stored elsewhere counts as unique.
constexpr std::size_t kNextToNothing = 512;
// An extent that can go lets others go in its place when it would copy more than this part of what
// it shares, and they free all but this part of it.
constexpr std::uint64_t kSwapMargin = 16;

}  // namespace

MatchStage::MatchStage(const Parts& parts, PassKind pass, Window window)
    : p_(parts),
      pass_(pass),
      window_(window),
      block_(parts.fs.info().block_size),
      finder_({parts.fs, parts.fingerprinter, parts.table, parts.contents, parts.loader,
               parts.roles, parts.strangers, parts.counters, parts.options.skim}) {}

void MatchStage::run(Batch& batch) {
  const Stopwatch watch(p_.counters.nanos_match);
  index::LocalityCache& cache = finder_.cache();
  // Where it fails the plan stage meets the same error, and ends the pass.
  if (p_.resolver.filters()) p_.resolver.refresh().IgnoreError();
  const std::uint64_t loaded_before = cache.windows_loaded();
  auto extents = std::exchange(batch.fingerprinted, {});
  for (auto& extent : extents) {
    p_.steps.wait();
    position_ = {batch.tier, extent.extent.address};
    take_up(std::move(extent), batch, true);
  }
  p_.counters.windows_loaded += cache.windows_loaded() - loaded_before;
}

void MatchStage::take_up(FingerprintedExtent extent, Batch& batch, bool may_swap) {
  const std::uint64_t address = extent.extent.address;
  if (p_.roles.going(address)) return;  // swapped, by an extent of the same revisit
  if (p_.roles.is_keeper(address)) return defer_keeper(extent, batch);
  const std::uint64_t errors = finder_.errors();
  Match match = this->match(std::move(extent));
  match.verdict = decide_filtered(match);
  // Not all that may equal it could be seen. Once more, and then with what there is, should it do.
  const bool hidden = finder_.errors() != errors || match.victim.unreadable;
  if (hidden && !(batch.revisit && match.verdict == Verdict::kFreed)) {
    retry(match.victim, batch);
    return;
  }
  const std::vector<FingerprintedExtent> smaller =
      may_swap && !match.runs.empty() ? to_swap(match) : std::vector<FingerprintedExtent>();
  if (match.verdict == Verdict::kFreed && smaller.empty()) {
    // The plan stage has made it a keeper meanwhile, of a tail.
    if (!p_.roles.set_going(address)) return defer_keeper(match.victim, batch);
    count_scanned(match.victim.extent);
    commit_victim(match);
    batch.matches.push_back(std::move(match));
    return;
  }
  if (!match.runs.empty()) ensure_in_table(match.victim);
  leave(match.victim, smaller.empty() ? match.verdict : Verdict::kKeeper, batch);
  stays_ = match.victim.extent.address;
  for (const auto& swapped : smaller) {
    ++p_.counters.role_swaps;
    take_up(swapped, batch, false);
  }
  stays_ = 0;
}

// It has references that nobody can name before the next commit.
void MatchStage::defer_keeper(const FingerprintedExtent& extent, Batch& batch) {
  if (!p_.roles.defer(extent.extent.address, extent.extent.length)) {
    leave(extent, Verdict::kKeeper, batch);
  }
}

bool MatchStage::speaks_later(const FingerprintedExtent& extent) const {
  return pass_ == PassKind::kQuick && extent.read && p_.options.depth == Depth::kDeep;
}

// In whichever pass: what the quick one has said of it does not tell what this one would have
// found.
void MatchStage::retry(const FingerprintedExtent& extent, Batch& batch) {
  if (speaks_later(extent)) return;
  count_scanned(extent.extent);
  batch.left.push_back({extent.extent, Verdict::kFailed});
}

// What stays, with the reason. Of an extent that is looked at twice, one of the passes speaks: for
// those that are read the deep one (see ContentScan), for all others the quick one.
void MatchStage::leave(const FingerprintedExtent& extent, Verdict verdict, Batch& batch) {
  const bool earlier = pass_ == PassKind::kDeepPlain && !extent.read;
  if (speaks_later(extent) || earlier) return;
  count_scanned(extent.extent);
  batch.left.push_back({extent.extent, verdict});
}

void MatchStage::count_scanned(const btrfs::Extent& extent) {
  ++p_.counters.extents_scanned;
  p_.counters.bytes_scanned += extent.length;
}

// The extents that shall go in the place of `match.victim`, which then stays; empty for no swap.
std::vector<FingerprintedExtent> MatchStage::to_swap(const Match& match) {
  std::uint64_t shared = match.zero_blocks;
  for (const Run& run : match.runs) shared += run.blocks;
  const std::uint64_t copied = match.victim.blocks.size() - shared;
  const bool goes = match.verdict == Verdict::kFreed;
  if (goes && copied <= shared / kSwapMargin) return {};
  auto smaller = covered_whole(match);
  std::uint64_t blocks = 0;
  for (const auto& extent : smaller) blocks += extent.blocks.size();
  if (goes && blocks < shared - shared / kSwapMargin) return {};
  return smaller;
}

Match MatchStage::match(FingerprintedExtent victim) {
  Match out;
  out.victim = std::move(victim);
  p_.counters.fingerprints += out.victim.blocks.size();
  kept_apart_ = false;
  finder_.begin(out.victim);
  if (out.victim.compressed() && pass_ == PassKind::kQuick) {
    match_alike(out);
  } else {
    match_blocks(out);
  }
  return out;
}

void MatchStage::match_alike(Match& match) {
  auto run = finder_.find_alike(match.victim, [&](const Keeper& keeper, std::uint64_t generation) {
    return serves_settled(keeper, generation);
  });
  if (run) match.runs.push_back(*run);
}

void MatchStage::match_blocks(Match& match) {
  const auto count = static_cast<std::uint32_t>(match.victim.blocks.size());
  finder_.find(
      match.victim, 0, count,
      [&](const Keeper& keeper, std::uint64_t generation) {
        return serves_settled(keeper, generation);
      },
      match.runs);
  match.zero_blocks = count_zeros(match);
  std::uint64_t shared = match.zero_blocks;
  for (const Run& run : match.runs) shared += run.blocks;
  if (static_cast<double>(count - shared) <= kSettledEnough * static_cast<double>(shared)) return;
  find_more(match);
  // One that would go for its zeros alone does not stay for the sake of others.
  const auto& blocks = match.victim.blocks;
  const auto zeros = static_cast<double>(std::count_if(
      blocks.begin(), blocks.end(), [&](auto f) { return p_.fingerprinter.is_zero(f); }));
  if (static_cast<double>(count) - zeros <= p_.options.max_copy_ratio * zeros) {
    match.staying_frees_bytes = 0;
  }
}

// The gaps, from anybody.
void MatchStage::find_more(Match& match) {
  const auto anybody = [&](const Keeper& keeper, std::uint64_t) { return serves(keeper); };
  std::vector<Run> more;
  std::uint32_t at = 0;
  for (const Run& run : match.runs) {
    finder_.find(match.victim, at, run.first, anybody, more);
    at = run.first + run.blocks;
  }
  finder_.find(match.victim, at, static_cast<std::uint32_t>(match.victim.blocks.size()), anybody,
               more);
  for (const Run& run : more) {
    // One that a plan has let go meanwhile: it stays.
    const auto* extent = finder_.cache().extent_at(run.keeper.address);
    if (extent == nullptr || settled(run.keeper, extent->generation)) continue;
    match.staying_frees_bytes += run.keeper.disk_bytes(run.blocks * block_);
  }
  match.runs.insert(match.runs.end(), more.begin(), more.end());
  std::sort(match.runs.begin(), match.runs.end(),
            [](const Run& a, const Run& b) { return a.first < b.first; });
  match.zero_blocks = count_zeros(match);
}

// Blocks of zeros outside the runs.
std::uint32_t MatchStage::count_zeros(const Match& match) const {
  const auto is_zero = [&](index::Fingerprint f) { return p_.fingerprinter.is_zero(f); };
  const auto& blocks = match.victim.blocks;
  auto zeros = std::count_if(blocks.begin(), blocks.end(), is_zero);
  for (const Run& run : match.runs) {
    const auto begin = blocks.begin() + run.first;
    zeros -= std::count_if(begin, begin + run.blocks, is_zero);
  }
  return static_cast<std::uint32_t>(zeros);
}

// In a deep pass every keeper that is read counts: it is compressed, and to be preferred.
bool MatchStage::settled(const Keeper& keeper, std::uint64_t generation) const {
  if (pass_ == PassKind::kDeepPlain && keeper.kind.compression != 0) return true;
  return !window_.contains(generation) ||
         position_.has_passed(keeper.address, keeper.disk_length) || keeper.address == stays_ ||
         p_.roles.is_keeper(keeper.address);
}

// False for one that the filter lets nobody read.
bool MatchStage::serves(const Keeper& keeper) {
  const bool out = !p_.options.filter.extent_bytes.contains(keeper.disk_length) ||
                   p_.resolver.use_of(keeper.address) == Use::kNone;
  kept_apart_ = kept_apart_ || out;
  return !out;
}

// One that cannot go is as good as settled.
bool MatchStage::serves_settled(const Keeper& keeper, std::uint64_t generation) {
  if (settled(keeper, generation)) return serves(keeper);
  return p_.resolver.filters() && p_.options.filter.extent_bytes.contains(keeper.disk_length) &&
         p_.resolver.use_of(keeper.address) == Use::kStays;
}

// The filter is asked where something would happen to the extent, and not else: it costs a search
// or more.
Verdict MatchStage::decide_filtered(const Match& match) const {
  const Verdict verdict = decide(match);
  if (verdict == Verdict::kUnique && kept_apart_) return Verdict::kExcluded;
  const bool idle = match.runs.empty() && verdict != Verdict::kFreed;
  if (idle || p_.resolver.use_of(match.victim.extent.address) == Use::kAny) return verdict;
  return Verdict::kExcluded;
}

Verdict MatchStage::decide(const Match& match) const {
  const auto& blocks = match.victim.blocks;
  if (blocks.empty()) return Verdict::kNoChecksum;
  if (match.victim.compressed() && pass_ == PassKind::kQuick && match.runs.empty()) {
    return Verdict::kCompressed;
  }
  std::uint64_t shared = match.zero_blocks;
  for (const Run& run : match.runs) shared += run.blocks;
  // A lone block or two of a long extent are more likely strangers with an equal checksum.
  if (shared <= blocks.size() / kNextToNothing) return Verdict::kUnique;
  const bool covered = blocks.size() - shared <= blocks.size() / kSwapMargin;
  if (covered && !going_frees_more(match.victim.disk_bytes(shared), match.staying_frees_bytes)) {
    return Verdict::kKeeper;
  }
  const double copied = static_cast<double>(blocks.size() - shared);
  const double most = p_.options.max_copy_ratio * kDeadSpaceHope * static_cast<double>(shared);
  if (copied > most) return Verdict::kCopyRatio;
  return Verdict::kFreed;
}

void MatchStage::commit_victim(Match& match) {
  const FingerprintedExtent& victim = match.victim;
  const std::uint64_t address = victim.extent.address;
  finder_.cache().forget(address, victim.extent.length);
  p_.contents.forget(address, victim.blocks.size() * block_);
  for (std::size_t i = 0; i < victim.blocks.size(); ++i) {
    if (victim.blocks[i] != kNoFingerprint) {
      p_.table.erase(victim.blocks[i], victim.cell_address(i, block_));
    }
  }
  for (std::size_t i = 0; i < victim.stored.size(); ++i) {
    p_.table.erase(victim.stored[i], address + i * block_);
  }
  for (const Run& run : match.runs) match.keepers.push_back(run.keeper.address);
  std::sort(match.keepers.begin(), match.keepers.end());
  match.keepers.erase(std::unique(match.keepers.begin(), match.keepers.end()), match.keepers.end());
  for (const std::uint64_t keeper : match.keepers) p_.roles.pin(keeper);
}

// Settled extents of which `match.victim` holds every block but a sixteenth.
std::vector<FingerprintedExtent> MatchStage::covered_whole(const Match& match) {
  // Compressed extents have no smaller ones that they cover; and they are what shall stay.
  if (match.victim.compressed()) return {};
  if (p_.resolver.use_of(match.victim.extent.address) == Use::kNone) return {};
  absl::flat_hash_map<std::uint64_t, std::uint64_t> covered;
  for (const Run& run : match.runs) covered[run.keeper.address] += run.blocks;
  std::vector<FingerprintedExtent> out;
  for (const Run& run : match.runs) {
    const Keeper& keeper = run.keeper;
    auto it = covered.find(keeper.address);
    if (it == covered.end()) continue;  // taken already
    if (keeper.kind != btrfs::ExtentKind{}) continue;
    const std::uint64_t keeper_blocks = keeper.length / block_;
    const bool whole = it->second >= keeper_blocks - keeper_blocks / 16;
    covered.erase(it);
    if (!whole || keeper.length >= match.victim.extent.length) continue;
    if (p_.resolver.use_of(keeper.address) != Use::kAny) continue;
    if (out.size() >= limits::kSwaps) continue;
    const auto* extent = finder_.cache().extent_at(keeper.address);
    // Those that the crawl has yet to meet come by themselves.
    if (extent == nullptr || extent->address != keeper.address ||
        !settled(keeper, extent->generation)) {
      continue;
    }
    auto reread = p_.fs.extent_at(keeper.address);
    if (!reread.ok() || !*reread) continue;
    FingerprintedExtent swapped;
    swapped.extent = **std::move(reread);
    swapped.read = match.victim.read;
    for (std::uint64_t i = 0; i < keeper_blocks; ++i) {
      swapped.blocks.push_back(finder_.at(keeper, keeper.address + i * block_));
    }
    out.push_back(std::move(swapped));
  }
  return out;
}

void MatchStage::ensure_in_table(const FingerprintedExtent& extent) {
  for (std::size_t i = 0; i < extent.blocks.size(); ++i) {
    if (p_.fingerprinter.is_zero(extent.blocks[i])) continue;
    p_.table.insert(extent.blocks[i], extent.cell_address(i, block_));
  }
}

}  // namespace skep::dedupe
