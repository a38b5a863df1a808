// SPDX-License-Identifier: MIT
//
// Where else the blocks of an extent are stored.
//
// For each block that no run covers yet, but for those with a fingerprint that says nothing
// (strangers.h), candidates come from the caches (locality cache: what is
// fingerprinted by checksums; content cache: what was read), then from the table. A candidate is
// extended both ways by comparing fingerprints, not data, within its extent. The longest run wins;
// of equals an extent that is a keeper already, then a compressed one, then the one with the fewest
// references. An extent that has to be read and that the table names is read then, and so is the
// one behind a keeper whose end a run has reached: what follows is likely to follow there too.
//
// Skimming, for estimates of large filesystems: where so far a long stretch of the extent matched
// nothing, only each sixteenth block is looked for, and those that the table has elsewhere too.
// What is found is extended back over those passed over.
//
// Thread-compatible, but for expect_changes(): the match stage owns it.
#pragma once

#include <absl/functional/function_ref.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "skep/dedupe/counters.h"
#include "skep/dedupe/fingerprint_stage.h"
#include "skep/dedupe/roles.h"
#include "skep/dedupe/strangers.h"
#include "skep/dedupe/types.h"
#include "skep/index/content_cache.h"
#include "skep/index/locality_cache.h"
#include "skep/index/table.h"

namespace skep::dedupe {

class RunFinder {
 public:
  // All borrowed; they outlive the finder. `loader` is the finder's own.
  struct Parts {
    btrfs::Filesystem& fs;
    const index::Fingerprinter& fingerprinter;
    index::Table& table;
    index::ContentCache& contents;
    FingerprintStage& loader;
    Roles& roles;
    const Strangers& strangers;
    Counters& counters;
    bool skim = false;
  };
  explicit RunFinder(const Parts& parts)
      : p_(parts), cache_(parts.fs, parts.fingerprinter), block_(parts.fs.info().block_size) {}

  // To be called once for each victim, before find().
  void begin(const FingerprintedExtent& victim);
  // Appends runs of blocks [first, end) with keepers that `accepts` accepts, ascending.
  using Accepts = absl::FunctionRef<bool(const Keeper&, std::uint64_t generation)>;
  void find(const FingerprintedExtent& victim, std::uint32_t first, std::uint32_t end,
            Accepts accepts, std::vector<Run>& out);
  // For a compressed victim: another extent whose stored checksums are all the same, as one run
  // over all of it.
  std::optional<Run> find_alike(const FingerprintedExtent& victim, Accepts accepts);

  // Other stages call this, from any thread, when extents came or stayed that were thought gone,
  // and before they say so in the table or the roles: who finds them there looks at them anew.
  void expect_changes() { changes_ = true; }

  index::LocalityCache& cache() { return cache_; }
  // Errors of the kernel that hid something: what was found may not be all there is.
  std::uint64_t errors() const;
  // The fingerprint of one block of a keeper's content.
  index::Fingerprint at(const Keeper& keeper, std::uint64_t address);

 private:
  struct Candidate {
    Run run;
    bool in_use = false;  // a keeper already: better one keeper than two
    std::uint64_t refs = 0;
  };
  struct Search {  // for one block
    const FingerprintedExtent& victim;
    std::uint32_t at, covered, end;
    Accepts accepts;
    Candidate best;
  };
  enum class Origin { kNone, kLocality, kContents, kTable };
  bool heed_changes();
  bool is_sought(index::Fingerprint fingerprint);
  bool passes_over(const btrfs::Extent& own, index::Fingerprint fingerprint,
                   std::uint32_t misses) const;
  void longest_run(Search& search);
  void ask_caches(Search& search, Origin& origin);
  void ask_table(Search& search, Origin& origin);
  bool consider(Search& search, std::uint64_t address);
  bool consider_read(Search& search, std::uint64_t extent, std::uint64_t address);
  void weigh(Search& search, const Keeper& keeper, std::uint64_t generation, std::uint64_t refs,
             std::uint64_t address);
  Run extend(const Search& search, const Keeper& keeper, std::uint64_t address);
  void trim_zeros(const FingerprintedExtent& victim, Run& run) const;
  void load_next(const Run& run);
  bool alike(const FingerprintedExtent& victim, std::uint64_t address);
  // Keepers that are read have a kind, or come from the content cache as everything does.
  bool is_read(const Keeper& keeper) const {
    return keeper.kind != btrfs::ExtentKind{} ||
           p_.fingerprinter.kind() == index::FingerprintKind::kData;
  }

  const Parts p_;
  index::LocalityCache cache_;
  const std::uint64_t block_;
  std::uint64_t window_loads_ = 0;   // still allowed for this victim
  std::uint64_t content_loads_ = 0;  // the same
  std::uint64_t used_keeper_ = 0;    // by the last run
  std::atomic<bool> changes_ = false;
};

}  // namespace skep::dedupe
