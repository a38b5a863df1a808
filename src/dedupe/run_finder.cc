// SPDX-License-Identifier: MIT
#include "skep/dedupe/run_finder.h"

#include <algorithm>
#include <tuple>

#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

using index::Fingerprint;
using index::kNoFingerprint;

// A run from the caches at least this long is not worth asking the table for a longer one.
constexpr std::uint32_t kGoodRun = 8;

// Blocks in a row that match nothing before the rest is skimmed, and of which one is then looked
// for. A run of a few blocks that is passed over changes little in an extent that is so long.
constexpr std::uint32_t kMissesBeforeSkimming = 64;
constexpr std::uint32_t kSkimOneIn = 16;

Keeper keeper_of(const index::ReadExtent& extent) {
  return {extent.address, extent.content_length, extent.length, extent.kind};
}

}  // namespace

void RunFinder::begin(const FingerprintedExtent& victim) {
  heed_changes();
  used_keeper_ = 0;
  window_loads_ = 16 + victim.blocks.size() / 4;
  content_loads_ = 4 + victim.blocks.size() / 8;
}

// True when there were any since the last time.
bool RunFinder::heed_changes() {
  if (!changes_.exchange(false)) return false;
  cache_.expect_changes();
  return true;
}

std::uint64_t RunFinder::errors() const { return cache_.errors() + p_.loader.load_errors(); }

Fingerprint RunFinder::at(const Keeper& keeper, std::uint64_t address) {
  return is_read(keeper) ? p_.contents.at(keeper.address, (address - keeper.address) / block_)
                         : cache_.at(address);
}

void RunFinder::find(const FingerprintedExtent& victim, std::uint32_t first, std::uint32_t end,
                     Accepts accepts, std::vector<Run>& out) {
  std::uint32_t misses = 0;
  for (std::uint32_t at = first, covered = first; at < end;) {
    const Fingerprint fingerprint = victim.blocks[at];
    if (!is_sought(fingerprint) || passes_over(victim.extent, fingerprint, ++misses)) {
      ++at;
      continue;
    }
    Search search{victim, at, covered, end, accepts, {}};
    longest_run(search);
    const Run& run = search.best.run;
    if (run.blocks == 0) {
      ++at;
      continue;
    }
    misses = 0;
    out.push_back(run);
    used_keeper_ = run.keeper.address;
    at = covered = run.first + run.blocks;
    load_next(run);
  }
}

bool RunFinder::is_sought(Fingerprint fingerprint) {
  if (fingerprint == kNoFingerprint || p_.fingerprinter.is_zero(fingerprint)) return false;
  if (!p_.strangers.frequent(fingerprint)) return true;
  ++p_.counters.searches_passed_over;
  return false;
}

bool RunFinder::passes_over(const btrfs::Extent& own, Fingerprint fingerprint,
                            std::uint32_t misses) const {
  if (!p_.skim || misses < kMissesBeforeSkimming || misses % kSkimOneIn == 0) return false;
  const auto found = p_.table.find(fingerprint);
  return std::all_of(found.begin(), found.end(),
                     [&](std::uint64_t address) { return address - own.address < own.length; });
}

void RunFinder::longest_run(Search& search) {
  Origin origin = Origin::kNone;
  ask_caches(search, origin);
  if (search.best.run.blocks < kGoodRun) ask_table(search, origin);
  if (origin == Origin::kLocality) ++p_.counters.cache_hits;
  if (origin == Origin::kContents) ++p_.counters.content_hits;
  if (origin == Origin::kTable) ++p_.counters.table_hits;
}

void RunFinder::ask_caches(Search& search, Origin& origin) {
  const Fingerprint fingerprint = search.victim.blocks[search.at];
  const btrfs::Extent& own = search.victim.extent;
  std::size_t left = limits::kCandidates;
  cache_.find(fingerprint, [&](std::uint64_t address) {
    // An extent's own blocks are in the cache as often as not; they cost no candidate.
    if (address - own.address < own.length) return true;
    consider(search, address);
    return --left > 0;
  });
  if (search.best.run.blocks != 0) origin = Origin::kLocality;
  const std::uint32_t from_locality = search.best.run.blocks;
  for (const auto& place : p_.contents.find(fingerprint)) {
    if (place.extent.address == own.address) continue;
    weigh(search, keeper_of(place.extent), place.extent.generation, place.extent.refs,
          place.extent.address + place.block * block_);
  }
  if (search.best.run.blocks > from_locality) origin = Origin::kContents;
}

void RunFinder::ask_table(Search& search, Origin& origin) {
  const Fingerprint fingerprint = search.victim.blocks[search.at];
  const btrfs::Extent& own = search.victim.extent;
  const std::uint32_t before = search.best.run.blocks;
  for (const std::uint64_t address : p_.table.find(fingerprint)) {
    if (address - own.address < own.length) continue;
    const std::uint64_t before_it = errors();
    bool there = consider(search, address);
    // It may be there again since the caches were asked to forget it.
    if (!there && heed_changes()) there = consider(search, address);
    if (!there && errors() == before_it) {
      p_.table.erase(fingerprint, address);
      ++p_.counters.table_stale;
    }
  }
  const Run& run = search.best.run;
  if (run.blocks <= before) return;
  origin = Origin::kTable;
  const std::uint64_t block_address = run.source + (search.at - run.first) * block_;
  p_.table.promote(fingerprint,
                   run.keeper.kind.compression != 0 ? run.keeper.address : block_address);
}

// False when `address` does not hold that content (any more).
bool RunFinder::consider(Search& search, std::uint64_t address) {
  if (!cache_.loaded(address)) {
    if (window_loads_ == 0) return true;
    --window_loads_;
  }
  const bool by_csums = p_.fingerprinter.kind() == index::FingerprintKind::kCsum;
  const bool equal = by_csums && cache_.fresh_at(address) == search.victim.blocks[search.at];
  const auto* found = cache_.extent_at(address);
  if (found == nullptr) return false;
  if (!equal) return consider_read(search, found->address, address);
  weigh(search, {found->address, found->length, found->length, {}}, found->generation, found->refs,
        address);
  return true;
}

// The same for an extent that has to be read. Of a compressed one any block may be meant.
bool RunFinder::consider_read(Search& search, std::uint64_t extent, std::uint64_t address) {
  const std::uint64_t named = (address - extent) / block_;
  if (!p_.contents.contains(extent, named)) {
    if (content_loads_ == 0) return true;
    --content_loads_;
    if (!p_.loader.load(extent, named)) return false;
  }
  const Fingerprint wanted = search.victim.blocks[search.at];
  const index::ReadExtent known = p_.contents.extent(extent, named);
  const bool compressed = known.kind.compression != 0;
  const std::uint64_t end = compressed ? known.content_length / block_ : named + 1;
  bool any = false;
  std::size_t left = limits::kCandidates;
  for (std::uint64_t i = compressed ? 0 : named; i < end && left > 0; ++i) {
    if (p_.contents.at(known.address, i) != wanted) continue;
    any = true;
    --left;
    weigh(search, keeper_of(known), known.generation, known.refs, known.address + i * block_);
  }
  return any;
}

void RunFinder::weigh(Search& search, const Keeper& keeper, std::uint64_t generation,
                      std::uint64_t refs, std::uint64_t address) {
  if (p_.roles.going(keeper.address) || !search.accepts(keeper, generation)) return;
  // What has no checksums shares with its like alone.
  if (keeper.kind.nodatasum != search.victim.kind.nodatasum) return;
  Candidate candidate;
  candidate.refs = refs;
  candidate.in_use = keeper.address == used_keeper_ || p_.roles.is_keeper(keeper.address);
  candidate.run = extend(search, keeper, address);
  const auto rank = [](const Candidate& c) {
    // A crowded keeper costs more to resolve than a second copy of it is worth.
    const bool crowded = c.refs > limits::kKeeperCrowded;
    return std::tuple(c.run.blocks != 0 && !crowded, c.run.blocks,
                      c.run.keeper.kind.compression != 0, c.in_use, ~c.refs);
  };
  if (candidate.run.blocks != 0 && rank(candidate) > rank(search.best)) search.best = candidate;
}

Run RunFinder::extend(const Search& search, const Keeper& keeper, std::uint64_t address) {
  const auto& blocks = search.victim.blocks;
  const std::uint64_t keeper_end = keeper.address + keeper.length;
  std::uint32_t first = search.at, end = search.at + 1;
  const auto equal = [&](std::uint32_t i) {
    return blocks[i] != kNoFingerprint &&
           at(keeper, address + i * block_ - search.at * block_) == blocks[i];
  };
  while (end < search.end && address + (end - search.at) * block_ < keeper_end && equal(end)) {
    ++end;
  }
  while (first > search.covered && address - (search.at - first) * block_ > keeper.address &&
         equal(first - 1)) {
    --first;
  }
  Run run{first, end - first, address - (search.at - first) * block_, keeper, false};
  trim_zeros(search.victim, run);
  run.lone = run.blocks == 1 && blocks.size() > 1 && keeper.length > block_;
  return run;
}

// Zeros inside a run stay in it, one range for all; at its ends they are better as holes.
void RunFinder::trim_zeros(const FingerprintedExtent& victim, Run& run) const {
  const auto is_zero = [&](std::uint32_t i) { return p_.fingerprinter.is_zero(victim.blocks[i]); };
  while (run.blocks != 0 && is_zero(run.first + run.blocks - 1)) --run.blocks;
  while (run.blocks != 0 && is_zero(run.first)) {
    ++run.first;
    --run.blocks;
    run.source += block_;
  }
}

// What was written one after another was mostly stored so.
void RunFinder::load_next(const Run& run) {
  const Keeper& keeper = run.keeper;
  if (!is_read(keeper) || content_loads_ == 0) return;
  if (run.source + run.blocks * block_ < keeper.address + keeper.length) return;
  const auto* next = cache_.extent_at(keeper.address + keeper.disk_length);
  if (next == nullptr || p_.contents.contains(next->address, 0)) return;
  --content_loads_;
  p_.loader.load(next->address, 0);
}

bool RunFinder::alike(const FingerprintedExtent& victim, std::uint64_t address) {
  for (std::size_t i = 0; i < victim.stored.size(); ++i) {
    if (victim.stored[i] == kNoFingerprint) return false;
    if (cache_.at(address + i * block_) != victim.stored[i]) return false;
  }
  const auto* found = cache_.extent_at(address);
  return found != nullptr && found->address == address && found->length == victim.extent.length;
}

std::optional<Run> RunFinder::find_alike(const FingerprintedExtent& victim, Accepts accepts) {
  std::optional<Run> best;
  std::uint64_t best_refs = 0;
  std::size_t left = limits::kCandidates;
  const auto consider = [&](std::uint64_t address, std::size_t block) {
    if (address < block * block_) return;
    address -= block * block_;
    if (address == victim.extent.address || left == 0) return;
    --left;
    if (!alike(victim, address)) return;
    const auto found = *cache_.extent_at(address);
    const Keeper keeper{address, victim.blocks.size() * block_, found.length, victim.kind};
    if (p_.roles.going(address) || !accepts(keeper, found.generation)) return;
    if (found.refs > limits::kKeeperCrowded || (best && best_refs <= found.refs)) return;
    best = Run{0, static_cast<std::uint32_t>(victim.blocks.size()), address, keeper, false};
    best_refs = found.refs;
  };
  for (std::size_t i = 0; i < victim.stored.size() && !best && left > 0; ++i) {
    const Fingerprint fingerprint = victim.stored[i];
    if (fingerprint == kNoFingerprint) break;
    cache_.find(fingerprint, [&](std::uint64_t address) {
      consider(address, i);
      return left > 0;
    });
    if (best) {
      ++p_.counters.cache_hits;
      break;
    }
    for (const std::uint64_t address : p_.table.find(fingerprint)) consider(address, i);
    if (best) ++p_.counters.table_hits;
  }
  return best;
}

}  // namespace skep::dedupe
