// SPDX-License-Identifier: MIT
//
// Gives each extent of a batch the fingerprints of its blocks. Those that are stored as they are
// get them from the csum tree; extents that lie near each other share one search. Those that have
// to be read (compressed ones, with Options::nodatasum those without checksums, with
// FingerprintKind::kData all) keep their stored checksums in a quick pass, and are read in a deep
// one, unless the content cache remembers them.
#pragma once

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>

#include <span>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/content_marks.h"
#include "skep/dedupe/content_reader.h"
#include "skep/dedupe/counters.h"
#include "skep/dedupe/extent_probe.h"
#include "skep/dedupe/resolver.h"
#include "skep/dedupe/types.h"
#include "skep/index/content_cache.h"

namespace skep::dedupe {

// Thread-compatible.
class FingerprintStage {
 public:
  // All borrowed. `resolver` is this stage's own: it names references that extent items do not.
  struct Parts {
    btrfs::Filesystem& fs;
    const index::Fingerprinter& fingerprinter;
    index::ContentCache& contents;
    Resolver& resolver;
    Counters& counters;
    Options options;
  };
  explicit FingerprintStage(const Parts& parts)
      : p_(parts),
        block_(parts.fs.info().block_size),
        probe_(parts.fs),
        reader_(parts.fs, parts.fingerprinter, parts.counters),
        compressed_seen_(parts.fs.info().has_compressed) {}

  // Moves batch.extents to batch.fingerprinted; in a deep pass those alone that it is about, and of
  // them those that are marked. `reach`: see ContentMarks::near. What was read and is passed on is
  // taken from `unjudged`.
  absl::Status run(Batch& batch, PassKind pass, const ContentMarks& marks, std::uint64_t reach,
                   Unjudged& unjudged, const Steps& steps = {});

  // How extents (in ascending address order) are stored, and their fingerprints as far as checksums
  // give them; a result with no blocks has none. Those that have to be read have `read` set, and
  // stand in `to_read`. `search_references`: with LOGICAL_INO, where the extent item names none.
  absl::Status describe(std::vector<btrfs::Extent> extents, bool search_references,
                        std::vector<FingerprintedExtent>& out, std::vector<ToRead>& to_read,
                        bool look_for_compressed = true);
  // Reads what describe() said, through files that are not excluded, and tells the content cache.
  // Drops the references of those that are.
  void read_contents(std::span<ToRead> extents, ContentReader::CachePolicy policy,
                     absl::FunctionRef<bool()> stop, const Steps& steps = {});
  // The extent at `address`, which the table or its neighbour named: true when it is one that has
  // to be read, and the content cache has the surroundings of this block of its content now.
  bool load(std::uint64_t address, std::uint64_t block);
  // How often load() met an error of the kernel.
  std::uint64_t load_errors() const { return load_errors_; }

 private:
  bool may_have_to_be_read(const FingerprintedExtent& extent, bool look_for_compressed) const;
  absl::Status run_quick(std::vector<btrfs::Extent> extents, Batch& batch);
  ProbedExtent search(const btrfs::Extent& extent);
  bool take_from_cache(FingerprintedExtent& extent) const;
  void apply_probe(const ProbedExtent& probed, FingerprintedExtent& out) const;

  const Parts p_;
  const std::uint64_t block_;
  ExtentProbe probe_;
  ContentReader reader_;
  bool compressed_seen_;
  std::uint64_t batches_ = 0;
  std::uint64_t load_errors_ = 0;
};

}  // namespace skep::dedupe
