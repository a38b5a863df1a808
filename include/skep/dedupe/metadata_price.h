// SPDX-License-Identifier: MIT
//
// What metadata will grow by when the references of a victim are replaced.
//
// Without snapshots that is little: each piece more than before takes a file extent item and a
// backreference. Snapshots share metadata leaves until one of them changes: sharing one reference
// in a snapshot unshares its whole leaf, the next reference in the same leaf is free. Leaf bounds
// cannot be seen, so a leaf is estimated as the keys of an inode's neighbourhood; the estimate is
// corrected by the growth that is seen when a transaction is committed.
//
// Measured under 10 and under 100 snapshots: see man/skep-run.1, METADATA.
//
// Thread-safe.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/container/flat_hash_set.h>
#include <absl/synchronization/mutex.h>

#include <cstdint>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/types.h"

namespace skep::dedupe {

class MetadataPrice {
 public:
  // With as many copies as the filesystem keeps of its metadata; one when it can not be asked.
  explicit MetadataPrice(btrfs::Filesystem& fs);
  MetadataPrice(std::uint32_t node_bytes, std::uint32_t copies)
      : node_bytes_(node_bytes), copies_(copies) {}

  // A leaf, by estimate: of `root`, in the neighbourhood of (inode, offset).
  struct Leaf {
    std::uint64_t root = 0, inode_group = 0, part = 0;
    auto operator<=>(const Leaf&) const = default;  // NOLINT(modernize-use-nullptr)
    template <typename H>
    friend H AbslHashValue(H h, const Leaf& leaf) {
      return H::combine(std::move(h), leaf.root, leaf.inode_group, leaf.part);
    }
  };
  // What one victim would do to metadata.
  struct Needs {
    std::vector<Leaf> leaves;     // each once; leaves that this run has unshared are left out
    std::uint64_t new_items = 0;  // file extent items and backreferences more than now
  };
  Needs needs(const std::vector<Reference>& references, std::uint64_t shares) const
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Of leaves that several victims need, each counted once by the caller. Bytes as on disk.
  std::uint64_t price(std::uint64_t leaves, std::uint64_t new_items) const
      ABSL_LOCKS_EXCLUDED(mutex_);
  // The victim is taken: its leaves are free from now on.
  void unshared(const Needs& needs) ABSL_LOCKS_EXCLUDED(mutex_);
  // Seen growth against the estimate for the same work, both as on disk.
  void learn(std::uint64_t estimated, std::int64_t seen) ABSL_LOCKS_EXCLUDED(mutex_);
  double correction() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const std::uint32_t node_bytes_;
  const std::uint32_t copies_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_set<Leaf> unshared_ ABSL_GUARDED_BY(mutex_);
  double correction_ ABSL_GUARDED_BY(mutex_) = 1;
  double estimated_ ABSL_GUARDED_BY(mutex_) = 0, seen_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace skep::dedupe
