// SPDX-License-Identifier: MIT
//
// Who refers to an extent. Most extents name their references themselves: the EXTENT_ITEM's inline
// EXTENT_DATA_REFs are complete when their counts add up to the item's, and no snapshot shares the
// leaf that holds the file extent item. The leaf is at least as new as the extent, and a tree block
// newer than the subvolume's last snapshot cannot be shared (kernel: btrfs_block_can_be_shared), so
// "extent newer than the last snapshot" proves it without a call. LOGICAL_INO is asked for the
// rest, in the resolving phase: 26 us a call and more, growing with the references.
//
// References of files that the filter excludes never leave this class. An extent with one is left
// alone; its other references can be read from.
//
// Thread-compatible: the plan stage owns it.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/status.h>

#include <cstdint>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/counters.h"
#include "skep/dedupe/file_filter.h"
#include "skep/dedupe/phase_gate.h"
#include "skep/dedupe/types.h"

namespace skep::dedupe {

struct Resolved {
  Verdict verdict = Verdict::kFreed;  // anything else: the extent must be left alone
  std::vector<Reference> references;
  // How the extent is stored, as its references say; without them not known.
  btrfs::ExtentKind kind;
  std::uint64_t content_length = 0;  // bytes, unpacked
};

// What the filter leaves an extent to do.
enum class Use : std::uint8_t {
  kAny,    // no reference is excluded: it may stay or go
  kStays,  // some are: others may go to it, it cannot go
  kNone,   // all are
};

class Resolver {
 public:
  // `filter` is borrowed; null where files are not told apart.
  Resolver(btrfs::Filesystem& fs, PhaseGate& gate, Counters& counters,
           FileFilter* filter = nullptr);

  // Reads the list of subvolumes anew: snapshots come and go. Forgets inodes. Once a batch.
  absl::Status refresh();
  bool filters() const { return filter_ != nullptr; }
  // Also true when it cannot be told. Without a filter nothing is.
  bool excludes(btrfs::FileKey file);
  // Of the extent at `address`. Without a filter kAny, and nothing is looked up.
  Use use_of(std::uint64_t address);
  bool needs_logical_ino(const btrfs::Extent& extent) const;
  // Every reference, by whichever way serves. With kDrop the excluded ones are left out and the
  // verdict is on the others.
  enum class Excluded { kRefuse, kDrop };
  Resolved resolve(const btrfs::Extent& extent, Excluded excluded = Excluded::kRefuse);
  // Those that can be read from and that the extent item names inline, be they all or not; up to
  // `limit`. The verdict means nothing.
  Resolved inline_references(const btrfs::Extent& extent, std::size_t limit);
  // Those that can be read from and use the block at `offset` of the extent's content. The same.
  Resolved references_at(const btrfs::Extent& extent, bool compressed, std::uint64_t offset);
  // Errors of the kernel that hid a reference from one of these: not those of what is gone.
  std::uint64_t errors() const { return errors_; }

 private:
  absl::StatusOr<btrfs::FileMap> file_map(btrfs::FileKey file, std::uint64_t first,
                                          std::uint64_t end);
  Verdict judge(btrfs::FileKey file);
  Use find_use(std::uint64_t address);
  Resolved from_inline(const btrfs::Extent& extent, Excluded excluded);
  absl::StatusOr<std::vector<btrfs::LogicalRef>> logical_ino(std::uint64_t address, bool exact);
  Resolved from_logical_ino(const btrfs::Extent& extent, Excluded excluded);
  void add_references(const btrfs::Extent& extent, const std::vector<btrfs::LogicalRef>& found,
                      Resolved& out);
  Resolved from_data_ref(const btrfs::Extent& extent, const btrfs::DataRef& ref);

  btrfs::Filesystem& fs_;
  PhaseGate& gate_;
  Counters& counters_;
  FileFilter* const filter_;
  std::uint64_t errors_ = 0;
  absl::flat_hash_map<std::uint64_t, Use> uses_;  // by address, of this era of the filter
  std::uint64_t uses_era_ = 0;
  absl::flat_hash_map<std::uint64_t, std::uint64_t> last_snapshot_;  // by root
  absl::flat_hash_map<btrfs::FileKey, btrfs::Inode> inodes_;         // of this batch
};

}  // namespace skep::dedupe
