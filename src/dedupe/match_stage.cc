// SPDX-License-Identifier: MIT
#include "skep/dedupe/match_stage.h"

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

using index::Fingerprint;
using index::kNoFingerprint;

// A run from the cache at least this long is not worth asking the table for a longer one.
constexpr std::uint32_t kGoodRun = 8;
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

MatchStage::MatchStage(btrfs::Filesystem& fs, const index::Fingerprinter& fingerprinter,
                       index::Table& table, Roles& roles, Counters& counters,
                       const Options& options, Window window)
    : fingerprinter_(fingerprinter),
      table_(table),
      cache_(fs, fingerprinter),
      roles_(roles),
      counters_(counters),
      options_(options),
      window_(window),
      block_(fs.info().block_size) {}

void MatchStage::run(Batch& batch) {
  const Stopwatch watch(counters_.nanos_match);
  if (changes_.exchange(false)) cache_.expect_changes();
  const std::uint64_t loaded_before = cache_.windows_loaded();
  auto extents = std::exchange(batch.fingerprinted, {});
  for (auto& extent : extents) {
    position_ = {batch.tier, extent.extent.address};
    take_up(std::move(extent), batch, true);
  }
  counters_.windows_loaded += cache_.windows_loaded() - loaded_before;
}

void MatchStage::take_up(FingerprintedExtent extent, Batch& batch, bool may_swap) {
  if (roles_.going(extent.extent.address)) return;  // swapped, by an extent of the same revisit
  if (roles_.is_keeper(extent.extent.address)) {
    // It has references that nobody can name before the next commit.
    if (roles_.defer(extent.extent.address, extent.extent.length)) return;
    count_scanned(extent.extent);
    batch.left.push_back({extent.extent, Verdict::kKeeper});
    return;
  }
  count_scanned(extent.extent);
  Match match = this->match(std::move(extent));
  match.verdict = decide(match);
  const std::vector<FingerprintedExtent> smaller =
      may_swap && !match.runs.empty() ? to_swap(match) : std::vector<FingerprintedExtent>();
  if (match.verdict == Verdict::kFreed && smaller.empty()) {
    commit_victim(match);
    batch.matches.push_back(std::move(match));
    return;
  }
  if (!match.runs.empty()) ensure_in_table(match.victim);
  batch.left.push_back({match.victim.extent, smaller.empty() ? match.verdict : Verdict::kKeeper});
  stays_ = match.victim.extent.address;
  for (const auto& swapped : smaller) {
    ++counters_.role_swaps;
    take_up(swapped, batch, false);
  }
  stays_ = 0;
}

void MatchStage::count_scanned(const btrfs::Extent& extent) {
  ++counters_.extents_scanned;
  counters_.bytes_scanned += extent.length;
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
  const auto& blocks = out.victim.blocks;
  const auto count = static_cast<std::uint32_t>(blocks.size());
  used_keeper_ = 0;
  window_loads_ = 16 + count / 4;
  counters_.fingerprints += count;
  find_runs(out.victim, 0, count, true, out.runs);
  out.zero_blocks = count_zeros(out);
  std::uint64_t shared = out.zero_blocks;
  for (const Run& run : out.runs) shared += run.blocks;
  if (static_cast<double>(count - shared) <= kSettledEnough * static_cast<double>(shared)) {
    return out;
  }
  // The gaps, from anybody.
  std::vector<Run> more;
  std::uint32_t at = 0;
  for (const Run& run : out.runs) {
    find_runs(out.victim, at, run.first, false, more);
    at = run.first + run.blocks;
  }
  find_runs(out.victim, at, count, false, more);
  for (const Run& run : more) out.staying_frees_blocks += run.blocks;
  out.runs.insert(out.runs.end(), more.begin(), more.end());
  std::sort(out.runs.begin(), out.runs.end(),
            [](const Run& a, const Run& b) { return a.first < b.first; });
  out.zero_blocks = count_zeros(out);
  // One that would go for its zeros alone does not stay for the sake of others.
  const auto zeros =
      static_cast<double>(std::count(blocks.begin(), blocks.end(), fingerprinter_.zero()));
  if (fingerprinter_.zero() != kNoFingerprint &&
      static_cast<double>(count) - zeros <= options_.max_copy_ratio * zeros) {
    out.staying_frees_blocks = 0;
  }
  return out;
}

void MatchStage::find_runs(const FingerprintedExtent& victim, std::uint32_t first,
                           std::uint32_t end, bool settled_only, std::vector<Run>& out) {
  settled_only_ = settled_only;
  for (std::uint32_t at = first, covered = first; at < end;) {
    const Fingerprint fingerprint = victim.blocks[at];
    if (fingerprint == kNoFingerprint || fingerprint == fingerprinter_.zero()) {
      ++at;
      continue;
    }
    const Candidate best = longest_run(victim, at, covered, end);
    if (best.run.blocks == 0) {
      ++at;
      continue;
    }
    out.push_back(best.run);
    used_keeper_ = best.run.keeper.address;
    at = covered = best.run.first + best.run.blocks;
  }
}

// Blocks of zeros outside the runs.
std::uint32_t MatchStage::count_zeros(const Match& match) const {
  const Fingerprint zero = fingerprinter_.zero();
  if (zero == kNoFingerprint) return 0;
  const auto& blocks = match.victim.blocks;
  auto zeros = std::count(blocks.begin(), blocks.end(), zero);
  for (const Run& run : match.runs) {
    const auto begin = blocks.begin() + run.first;
    zeros -= std::count(begin, begin + run.blocks, zero);
  }
  return static_cast<std::uint32_t>(zeros);
}

MatchStage::Candidate MatchStage::longest_run(const FingerprintedExtent& victim, std::uint32_t at,
                                              std::uint32_t covered, std::uint32_t end) {
  Candidate best;
  const Fingerprint fingerprint = victim.blocks[at];
  std::size_t left = limits::kCandidates;
  cache_.find(fingerprint, [&](std::uint64_t address) {
    // An extent's own blocks are in the cache as often as not; they cost no candidate.
    if (address - victim.extent.address < victim.extent.length) return true;
    consider(victim, at, covered, end, address, best);
    return --left > 0;
  });
  if (best.run.blocks >= kGoodRun) {
    ++counters_.cache_hits;
    return best;
  }
  const std::uint32_t from_cache = best.run.blocks;
  for (const std::uint64_t address : table_.find(fingerprint)) {
    if (address - victim.extent.address < victim.extent.length) continue;
    if (!consider(victim, at, covered, end, address, best)) {
      table_.erase(fingerprint, address);
      ++counters_.table_stale;
    }
  }
  if (best.run.blocks > from_cache) {
    ++counters_.table_hits;
    table_.promote(fingerprint, best.run.source + (at - best.run.first) * block_);
  } else if (best.run.blocks != 0) {
    ++counters_.cache_hits;
  }
  return best;
}

// False when `address` does not hold that content (any more).
bool MatchStage::consider(const FingerprintedExtent& victim, std::uint32_t at,
                          std::uint32_t covered, std::uint32_t end, std::uint64_t address,
                          Candidate& best) {
  if (!cache_.loaded(address)) {
    if (window_loads_ == 0) return true;
    --window_loads_;
  }
  if (cache_.fresh_at(address) != victim.blocks[at]) return false;
  const btrfs::Extent* found = cache_.extent_at(address);
  if (found == nullptr) return false;
  if (roles_.going(found->address) || (settled_only_ && !settled(*found))) return true;
  const Keeper keeper{found->address, found->length};
  Candidate candidate;
  candidate.refs = found->refs;
  candidate.in_use = found->address == used_keeper_ || roles_.is_keeper(found->address);
  candidate.run = extend(victim, at, covered, end, address, keeper);
  const auto rank = [](const Candidate& c) {
    // A crowded keeper costs more to resolve than a second copy of it is worth.
    const bool crowded = c.refs > limits::kKeeperCrowded;
    return std::tuple(c.run.blocks != 0 && !crowded, c.run.blocks, c.in_use, ~c.refs);
  };
  if (candidate.run.blocks != 0 && rank(candidate) > rank(best)) best = candidate;
  return true;
}

Run MatchStage::extend(const FingerprintedExtent& victim, std::uint32_t at, std::uint32_t covered,
                       std::uint32_t limit, std::uint64_t address, const Keeper& keeper) {
  const auto& blocks = victim.blocks;
  const std::uint64_t keeper_end = keeper.address + keeper.length;
  std::uint32_t first = at, end = at + 1;
  while (end < limit && address + (end - at) * block_ < keeper_end &&
         blocks[end] != kNoFingerprint && cache_.at(address + (end - at) * block_) == blocks[end]) {
    ++end;
  }
  while (first > covered && address - (at - first) * block_ > keeper.address &&
         blocks[first - 1] != kNoFingerprint &&
         cache_.at(address - (at - first + 1) * block_) == blocks[first - 1]) {
    --first;
  }
  Run run{first, end - first, address - (at - first) * block_, keeper};
  trim_zeros(victim, run);
  return run;
}

// Zeros inside a run stay in it, one range for all; at its ends they are better as holes.
void MatchStage::trim_zeros(const FingerprintedExtent& victim, Run& run) const {
  const Fingerprint zero = fingerprinter_.zero();
  while (run.blocks != 0 && victim.blocks[run.first + run.blocks - 1] == zero) --run.blocks;
  while (run.blocks != 0 && victim.blocks[run.first] == zero) {
    ++run.first;
    --run.blocks;
    run.source += block_;
  }
}

bool MatchStage::settled(const btrfs::Extent& keeper) const {
  return !window_.contains(keeper.generation) ||
         position_.has_passed(keeper.address, keeper.length) || keeper.address == stays_ ||
         roles_.is_keeper(keeper.address);
}

Verdict MatchStage::decide(const Match& match) const {
  const auto& blocks = match.victim.blocks;
  if (blocks.empty()) return Verdict::kNoChecksum;
  std::uint64_t shared = match.zero_blocks;
  for (const Run& run : match.runs) shared += run.blocks;
  // A lone block or two of a long extent are more likely strangers with an equal checksum.
  if (shared <= blocks.size() / kNextToNothing) return Verdict::kUnique;
  const bool covered = blocks.size() - shared <= blocks.size() / kSwapMargin;
  if (covered && !going_frees_more(shared, match.staying_frees_blocks)) return Verdict::kKeeper;
  const double copied = static_cast<double>(blocks.size() - shared);
  const double most = options_.max_copy_ratio * kDeadSpaceHope * static_cast<double>(shared);
  if (copied > most) return Verdict::kCopyRatio;
  return Verdict::kFreed;
}

void MatchStage::commit_victim(Match& match) {
  const auto& [extent, blocks] = match.victim;
  roles_.set_going(extent.address);
  cache_.forget(extent.address, extent.length);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i] != kNoFingerprint) table_.erase(blocks[i], extent.address + i * block_);
  }
  for (const Run& run : match.runs) match.keepers.push_back(run.keeper.address);
  std::sort(match.keepers.begin(), match.keepers.end());
  match.keepers.erase(std::unique(match.keepers.begin(), match.keepers.end()), match.keepers.end());
  for (const std::uint64_t keeper : match.keepers) roles_.pin(keeper);
}

// Settled extents of which `match.victim` holds every block but a sixteenth.
std::vector<FingerprintedExtent> MatchStage::covered_whole(const Match& match) {
  absl::flat_hash_map<std::uint64_t, std::uint64_t> covered;
  for (const Run& run : match.runs) covered[run.keeper.address] += run.blocks;
  std::vector<FingerprintedExtent> out;
  for (const Run& run : match.runs) {
    const Keeper& keeper = run.keeper;
    auto it = covered.find(keeper.address);
    if (it == covered.end()) continue;  // taken already
    const std::uint64_t keeper_blocks = keeper.length / block_;
    const bool whole = it->second >= keeper_blocks - keeper_blocks / 16;
    covered.erase(it);
    if (!whole || keeper.length >= match.victim.extent.length) continue;
    if (out.size() >= limits::kSwaps) continue;
    const btrfs::Extent* extent = cache_.extent_at(keeper.address);
    // Those that the crawl has yet to meet come by themselves.
    if (extent == nullptr || extent->address != keeper.address || !settled(*extent)) continue;
    FingerprintedExtent swapped{*extent, {}};
    for (std::uint64_t i = 0; i < keeper_blocks; ++i) {
      swapped.blocks.push_back(cache_.at(keeper.address + i * block_));
    }
    out.push_back(std::move(swapped));
  }
  return out;
}

void MatchStage::ensure_in_table(const FingerprintedExtent& extent) {
  for (std::size_t i = 0; i < extent.blocks.size(); ++i) {
    if (extent.blocks[i] == fingerprinter_.zero()) continue;
    table_.insert(extent.blocks[i], extent.extent.address + i * block_);
  }
}

}  // namespace skep::dedupe
