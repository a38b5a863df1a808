// SPDX-License-Identifier: MIT
//
// Through which file each part of a keeper can be read. Resolving an extent costs more the more
// references it has, and keepers collect them, so it is done once, when the extent is first used,
// and only as many references are kept as are needed to cover it. Bounded, least recently used
// first out. Thread-safe, but for the Resolver that it borrows: find() belongs to the plan stage.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/container/btree_map.h>
#include <absl/container/flat_hash_map.h>
#include <absl/synchronization/mutex.h>

#include <cstdint>
#include <deque>
#include <list>
#include <optional>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/resolver.h"
#include "skep/dedupe/types.h"

namespace skep::dedupe {

// A file range that holds `length` bytes of an extent from an asked-for place.
struct Source {
  std::uint64_t extent_address = 0;
  btrfs::FileHandle file;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

class KeeperCatalog {
 public:
  KeeperCatalog(btrfs::Filesystem& fs, Resolver& resolver) : fs_(fs), resolver_(resolver) {}

  // Whole blocks at `address` (the keeper's plus the offset in its content): a source of at most
  // `length` bytes that begins there, or nothing when no file holds that block whole (dead space, a
  // tail, gone), or when the extent is not stored as the match stage took it to be.
  std::optional<Source> find(const Keeper& keeper, std::uint64_t address, std::uint64_t length)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // The block at `address`, as the last of a file that ends `length` bytes inside it.
  std::optional<Source> find_tail(const Keeper& keeper, std::uint64_t address, std::uint32_t length)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // The same for a block that add() told of, whose extent need not be known.
  std::optional<Source> find_tail(std::uint64_t address, std::uint32_t length)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Errors of the kernel, those of its resolver included, that hid references: what was found of a
  // keeper meanwhile may not be all there is, and is to be forgotten.
  std::uint64_t errors() const ABSL_LOCKS_EXCLUDED(mutex_);

  // What skep itself shared: `address` is that of the reference's first block.
  void add(const NewReference& reference) ABSL_LOCKS_EXCLUDED(mutex_);
  // The extent, of `length` bytes on disk, is gone, or its references are.
  void forget(std::uint64_t address, std::uint64_t length) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Entry {
    btrfs::Extent extent;
    std::vector<Reference> references;
    btrfs::ExtentKind kind;
    bool complete = true;  // the references are all there are, or the extent is gone
    int searches = 0;      // of LOGICAL_INO, for blocks that no known reference covers
  };
  Entry& entry_for(const Keeper& keeper) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Entry resolve(const Keeper& keeper) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  btrfs::Filesystem& fs_;
  Resolver& resolver_;
  mutable absl::Mutex mutex_;
  std::uint64_t errors_ ABSL_GUARDED_BY(mutex_) = 0;
  struct Slot {
    std::uint64_t address = 0;
    Entry entry;
  };
  std::list<Slot> newest_first_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::uint64_t, std::list<Slot>::iterator> by_address_ ABSL_GUARDED_BY(mutex_);
  // Single blocks by address, and those in the order in which they came; what was forgotten since
  // is still among these.
  absl::btree_map<std::uint64_t, NewReference> blocks_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::uint64_t> block_order_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace skep::dedupe
