// SPDX-License-Identifier: MIT
//
// What MemoryFilesystem holds: data extents, files, subvolumes, and the transaction that runs.
// Thread-compatible: MemoryFilesystem locks.
//
// Invariants (check() tells):
// - An extent's `users` are the keys of exactly those file extent items that refer to it.
// - Extents and free gaps lie side by side from first_address to end_, without overlap.
// - used_ is the sum of the extents' lengths, reserved_ that of the dirty blocks.
// - Between two commits `touched_` names each extent whose references changed; committed_ is the
//   extent tree as the last commit left it.
// - File extent items are block-aligned; an inline item is its file's only one.
#pragma once

#include <absl/container/btree_set.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/btrfs/memory_filesystem.h"

namespace skep::btrfs {

using Bytes = std::vector<std::byte>;

struct MemoryItem {
  FileExtent extent;
  // Names the item's place in a leaf: a snapshot's copy has the number of its original, a
  // rewritten item has a new one.
  std::uint64_t leaf = 0;
  bool shared_leaf = false;  // a snapshot's copy, not rewritten since
  Bytes inline_data;
};

struct MemoryInode {
  Inode inode;
  std::vector<FileName> names;
  std::map<std::uint64_t, MemoryItem> items;  // by file offset
  std::map<std::uint64_t, Bytes> dirty;       // blocks without an extent yet, by file offset
  std::uint64_t handles = 0;                  // open files
  std::uint8_t compression = 0;               // of dirty blocks, when they get an extent
};

struct MemorySubvolume {
  Subvolume info;
  std::uint64_t next_inode = kFirstFreeObjectid + 1;  // the first is the directory
  std::map<std::uint64_t, MemoryInode> inodes;
  std::map<std::uint64_t, FileName> folders;  // but for the first, which has no name
};

struct ItemKey {
  FileKey file;
  std::uint64_t offset = 0;
  auto operator<=>(const ItemKey&) const = default;  // NOLINT(modernize-use-nullptr)
};

struct MemoryExtent {
  std::uint64_t length = 0;  // on disk
  std::uint64_t generation = 0;
  std::uint8_t compression = 0;
  Bytes content;                                    // uncompressed
  std::vector<std::optional<std::uint32_t>> csums;  // one for each block on disk
  absl::btree_set<ItemKey> users;
};

class MemoryStore {
 public:
  explicit MemoryStore(const MemoryOptions& options);

  // Transactions (memory_extents.cc).
  std::uint64_t generation() const { return committed_generation_ + (running_ ? 1 : 0); }
  std::uint64_t commit();  // its generation

  // Subvolumes and inodes (memory_store.cc).
  std::uint64_t add_subvolume();
  std::uint64_t snapshot(std::uint64_t root, bool read_only);
  absl::Status remove_subvolume(std::uint64_t root);
  bool has_subvolume(std::uint64_t root) const { return subvolumes_.contains(root); }
  std::vector<Subvolume> subvolumes() const;
  FileKey add_inode(std::uint64_t root, std::uint64_t flags, std::uint32_t links);
  void add_inode_at(FileKey key, std::uint64_t flags, std::uint32_t links);
  MemoryInode* find(FileKey key);
  const MemoryInode* find(FileKey key) const;
  std::vector<FileKey> files() const;
  std::optional<NamedInode> names(FileKey key) const;
  std::uint64_t create_folder(std::uint64_t root, const FileName& name);
  absl::Status rename(FileKey key, const FileName& name);
  absl::Status link(FileKey key, const FileName& name);
  absl::Status move_subvolume(std::uint64_t root, std::uint64_t parent, const FileName& place);
  void for_each_item(std::uint64_t root, ItemPlace first, ItemPlace last,
                     Filesystem::FileExtentVisitor visit) const;
  absl::Status unlink(FileKey key);
  void close(FileKey key);
  absl::Status set_flags(FileKey key, std::uint64_t flags);
  SpaceInfo space() const;
  std::uint64_t used() const { return used_; }
  std::size_t extent_count() const { return extents_.size(); }

  // File contents (memory_files.cc, memory_items.cc).
  std::size_t read(FileKey key, std::uint64_t offset, std::span<std::byte> out) const;
  absl::Status write(FileKey key, std::uint64_t offset, std::span<const std::byte> data,
                     std::uint8_t compression);
  void write_inline(FileKey key, std::span<const std::byte> data);
  absl::Status write_dirty(FileKey key, std::uint64_t offset, std::span<const std::byte> data);
  void flush(FileKey key);
  void flush_all();
  absl::Status punch(FileKey key, std::uint64_t offset, std::uint64_t length);
  absl::Status fallocate(FileKey key, std::uint64_t offset, std::uint64_t length);
  absl::Status truncate(FileKey key, std::uint64_t size);
  absl::Status reflink(FileKey source, std::uint64_t source_offset, std::uint64_t length,
                       FileKey destination, std::uint64_t destination_offset);
  // Makes `destination` refer to what `source` refers to, for whole blocks; sizes stay.
  absl::Status clone(FileKey source, std::uint64_t source_offset, std::uint64_t length,
                     FileKey destination, std::uint64_t destination_offset);

  // What the extent tree and the csum tree say (memory_extents.cc).
  const std::map<std::uint64_t, Extent>& committed() const { return committed_; }
  struct CsumStretch {
    std::uint64_t address = 0;
    std::vector<std::uint32_t> csums;
  };
  std::vector<CsumStretch> csums(std::uint64_t first, std::uint64_t end) const;
  absl::StatusOr<std::vector<LogicalRef>> references(std::uint64_t address, bool exact) const;

  absl::Status check() const;  // memory_check.cc

  std::uint64_t align_down(std::uint64_t n) const { return n - n % block_; }
  std::uint64_t align_up(std::uint64_t n) const { return align_down(n + block_ - 1); }

 private:
  // memory_extents.cc
  absl::StatusOr<std::uint64_t> allocate(Bytes content, std::uint8_t compression, bool checksummed);
  std::uint64_t take_address(std::uint64_t length);
  void give_address_back(std::uint64_t address, std::uint64_t length);
  void free_extent(std::uint64_t address);
  std::uint32_t csum_of(const MemoryExtent& extent, std::size_t block) const;
  Extent describe(std::uint64_t address) const;
  const MemoryItem& item_at(const ItemKey& key) const;

  // memory_items.cc
  using Items = std::map<std::uint64_t, MemoryItem>;
  void insert(FileKey key, const FileExtent& extent);
  void attach(FileKey key, MemoryItem item);
  Items::iterator detach(FileKey key, Items::iterator item);
  void drop_range(FileKey key, std::uint64_t first, std::uint64_t end);
  std::vector<FileExtent> parts_in(const MemoryInode& inode, std::uint64_t first,
                                   std::uint64_t end) const;
  const MemoryItem* item_covering(const MemoryInode& inode, std::uint64_t offset) const;
  const MemoryItem* item_to_overwrite(FileKey key, std::uint64_t offset) const;

  // memory_files.cc
  absl::Status write_blocks(FileKey key, std::uint64_t first, std::span<const std::byte> blocks,
                            std::uint8_t compression);
  absl::Status write_new(FileKey key, std::uint64_t first, std::span<const std::byte> blocks,
                         std::uint8_t compression);
  void overwrite(FileKey key, std::uint64_t first, std::span<const std::byte> blocks,
                 const MemoryItem& item);
  absl::Status zero(FileKey key, std::uint64_t first, std::uint64_t end);
  absl::Status grow_from(FileKey key, std::uint64_t offset);
  absl::Status store_inline_outside(FileKey key);
  absl::Status clone_inline(FileKey source, FileKey destination, std::uint64_t destination_offset);
  void destroy(FileKey key);

  // memory_check.cc
  absl::Status check_inode(FileKey key, const MemoryInode& inode) const;
  absl::Status check_extent(std::uint64_t address, const MemoryExtent& extent) const;
  absl::Status check_addresses() const;
  absl::Status check_committed() const;

  const MemoryOptions options_;
  const std::uint64_t block_;
  std::map<std::uint64_t, MemorySubvolume> subvolumes_;
  std::uint64_t next_root_ = kFirstFreeObjectid;
  std::uint64_t next_leaf_ = 1;

  std::map<std::uint64_t, MemoryExtent> extents_;
  std::map<std::uint64_t, std::uint64_t> gaps_;  // free below end_: address, length
  std::uint64_t end_;                            // nothing was ever allocated from here on
  std::uint64_t used_ = 0;
  std::uint64_t reserved_ = 0;

  std::uint64_t committed_generation_ = 1;
  bool running_ = false;
  std::map<std::uint64_t, Extent> committed_;
  std::set<std::uint64_t> touched_;
};

}  // namespace skep::btrfs
