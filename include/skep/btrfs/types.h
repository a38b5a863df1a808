// SPDX-License-Identifier: MIT
//
// What btrfs stores, as plain values. Addresses are logical addresses of the filesystem in bytes
// (btrfs: bytenr); every length and offset is in bytes. Names follow btrfs's own structures
// (fs/btrfs, uapi/linux/btrfs_tree.h). Values only: freely copied, no thread rules.
#pragma once

#include <absl/container/inlined_vector.h>

#include <algorithm>
#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace skep::btrfs {

using Uuid = std::array<std::uint8_t, 16>;
std::string to_string(const Uuid& uuid);

enum class CsumType : std::uint16_t { kCrc32c = 0, kXxhash64 = 1, kSha256 = 2, kBlake2b = 3 };
std::string to_string(CsumType type);

// BTRFS_IOC_FS_INFO, less what nobody here needs.
struct FsInfo {
  Uuid uuid{};
  std::uint32_t block_size = 4096;  // btrfs: sectorsize
  std::uint32_t node_size = 16384;
  CsumType csum_type = CsumType::kCrc32c;
  std::uint16_t csum_size = 4;  // bytes a block takes in the csum tree
  // Something was written compressed with lzo or zstd, ever. Of zlib the superblock does not tell.
  bool has_compressed = true;
};

// An EXTENT_DATA_REF: one (root, inode) refers to the extent `count` times with file ranges for
// which file offset less offset in the extent is `offset` (which may wrap below zero).
struct DataRef {
  std::uint64_t root = 0;
  std::uint64_t inode = 0;
  std::uint64_t offset = 0;
  std::uint32_t count = 0;
};

// An EXTENT_ITEM of a data extent, with the references that are stored inline.
struct Extent {
  std::uint64_t address = 0;
  std::uint64_t length = 0;
  std::uint64_t generation = 0;  // transaction that allocated it
  std::uint64_t refs = 0;        // all references, inline or not
  absl::InlinedVector<DataRef, 1> data_refs;
  bool shared_refs = false;  // some inline reference is a SHARED_DATA_REF (names a tree block)

  std::uint64_t end() const { return address + length; }
  // True when data_refs names every reference that the extent item counts. Snapshots can still
  // refer to the extent through a shared leaf: see Subvolume::last_snapshot.
  bool refs_all_inline() const;
};

enum class FileExtentType : std::uint8_t { kInline = 0, kRegular = 1, kPrealloc = 2 };

// A file extent item (EXTENT_DATA): the file range [file_offset, file_offset + length) uses
// [extent_offset, extent_offset + length) of the extent at extent_address. Address 0 is a hole.
struct FileExtent {
  std::uint64_t file_offset = 0;
  std::uint64_t length = 0;
  std::uint64_t extent_address = 0;
  std::uint64_t extent_length = 0;   // on disk
  std::uint64_t extent_offset = 0;   // of the uncompressed data
  std::uint64_t content_length = 0;  // of all of the extent, uncompressed (btrfs: ram_bytes)
  FileExtentType type = FileExtentType::kRegular;
  std::uint8_t compression = 0;  // 0 none, 1 zlib, 2 lzo, 3 zstd
  bool encoded = false;          // encryption or another encoding: never touched
  std::uint64_t generation = 0;  // transaction that wrote the item
};

// From btrfs_inode.h; the flags that an INODE_ITEM carries on disk.
inline constexpr std::uint64_t kInodeNodatasum = 1ULL << 0;
inline constexpr std::uint64_t kInodeNodatacow = 1ULL << 1;
inline constexpr std::uint64_t kInodeImmutable = 1ULL << 6;

struct Inode {
  std::uint64_t size = 0;
  std::uint64_t flags = 0;
  std::uint32_t mode = 0;
  std::uint32_t links = 0;       // 0: deleted, still open somewhere
  std::uint64_t generation = 0;  // transaction that made it; see FileHandle
};

// A file's inode and the file extent items that begin in a range of it.
struct FileMap {
  Inode inode;
  std::vector<FileExtent> extents;
};

// A name of an inode: an entry of a folder of the same subvolume.
struct FileName {
  std::uint64_t folder = 0;  // inode
  std::string name;
  auto operator<=>(const FileName&) const = default;  // NOLINT(modernize-use-nullptr)
};

// An inode and all its names: one for each hard link, exactly one for a folder. None for what is
// deleted and still open, and for the top folder of a subvolume, which Subvolume names.
struct NamedInode {
  Inode inode;
  std::vector<FileName> names;
};

// One answer of LOGICAL_INO_V2. `offset` is the key offset of the file extent item when all of an
// extent was asked for, and the block's own offset in the file when one block was.
struct LogicalRef {
  std::uint64_t inode = 0;
  std::uint64_t offset = 0;
  std::uint64_t root = 0;
  auto operator<=>(const LogicalRef&) const = default;  // NOLINT(modernize-use-nullptr)
};

// A file of some subvolume, by number: needs no path.
struct FileKey {
  std::uint64_t root = 0;
  std::uint64_t inode = 0;
  auto operator<=>(const FileKey&) const = default;  // NOLINT(modernize-use-nullptr)
  template <typename H>
  friend H AbslHashValue(H h, const FileKey& k) {
    return H::combine(std::move(h), k.root, k.inode);
  }
};

// A file as it is opened (btrfs: struct btrfs_fid). Numbers of inodes are used anew; with the
// generation of its inode a file is told from a later one under the same number. Generation 0 takes
// whichever file is there.
struct FileHandle : FileKey {
  FileHandle() = default;
  constexpr explicit FileHandle(FileKey key, std::uint64_t inode_generation = 0)
      : FileKey(key), generation(inode_generation) {}
  std::uint64_t generation = 0;
  auto operator<=>(const FileHandle&) const = default;  // NOLINT(modernize-use-nullptr)
};

struct Subvolume {
  std::uint64_t root = 0;
  // Generation of the newest snapshot taken of (or as) this subvolume, 0 for none. A tree block
  // that is newer cannot be shared with another subvolume (kernel: btrfs_block_can_be_shared).
  std::uint64_t last_snapshot = 0;
  bool read_only = false;
  // Where its top folder hangs (btrfs: ROOT_BACKREF): an entry of a folder of subvolume `parent`.
  // 0 for the top level, and for one that is being deleted or moved.
  std::uint64_t parent = 0;
  FileName place;
};

// One block group kind's BTRFS_IOC_SPACE_INFO, summed over profiles.
struct Space {
  std::uint64_t total = 0;  // allocated to block groups
  std::uint64_t used = 0;
  std::uint32_t copies = 1;  // what each byte takes on the devices: 2 for DUP and RAID1, ...
};
struct SpaceInfo {
  Space data;
  Space metadata;
  std::uint64_t device_bytes = 0;  // of all devices together
  std::uint64_t unallocated = 0;   // of that, what belongs to no block group yet
  // What metadata can still grow by.
  std::uint64_t metadata_room() const {
    return metadata.total - std::min(metadata.used, metadata.total) +
           unallocated / std::max<std::uint64_t>(metadata.copies, 1);
  }
};

inline constexpr std::uint64_t kTopLevelRoot = 5;         // FS_TREE_OBJECTID
inline constexpr std::uint64_t kFirstFreeObjectid = 256;  // first subvolume, first inode
inline constexpr std::uint64_t kLastFreeObjectid = -256ULL;
// True for the roots that hold files of users, false for the trees of btrfs itself.
inline bool is_subvolume(std::uint64_t root) {
  return root == kTopLevelRoot || (root >= kFirstFreeObjectid && root <= kLastFreeObjectid);
}
// A compressed extent unpacks to at most so much (kernel: BTRFS_MAX_UNCOMPRESSED), and takes less
// on disk: what is not shorter by a block is stored as it is.
inline constexpr std::uint64_t kMaxCompressedContent = 128ULL << 10;

// How a data extent is stored. Extents of different kinds, compression aside, cannot share: the
// kernel refuses to mix files with and without checksums.
struct ExtentKind {
  std::uint8_t compression = 0;                         // as in FileExtent
  bool nodatasum = false;                               // belongs to nodatasum (NOCOW) files
  auto operator<=>(const ExtentKind&) const = default;  // NOLINT(modernize-use-nullptr)
};

// What is written at once gets no longer extent (kernel: BTRFS_MAX_EXTENT_SIZE).
inline constexpr std::uint64_t kMaxWrittenLength = 128ULL << 20;
// No data extent is longer: preallocated ones are up to SZ_256M (__btrfs_prealloc_file_range).
inline constexpr std::uint64_t kMaxExtentLength = 256ULL << 20;

}  // namespace skep::btrfs
