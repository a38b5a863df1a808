// SPDX-License-Identifier: MIT
//
// A btrfs filesystem in memory: the second implementation of Filesystem. It holds real bytes and
// answers as the kernel does where an answer decides something for a deduplicator: whole extents
// are freed or none of it, the tail rule, answers of FIDEDUPERANGE that overstate, snapshots that
// share leaves, addresses that are used again. Tests build files with the methods of the second
// group, run code on the first, and look at bytes and check() afterwards. Faults are injected from
// a seed.
//
// What the kernel does lazily happens here at fixed moments:
// - extents() shows the extent tree as sync() or snapshot() left it: an extent that lost its last
//   reference stays there, keeps its space and its checksums, and its address is not used again
//   before the next sync(). logical_ino() knows the extents that extents() shows, with the
//   references of now: none, for an extent that is about to go; NOT_FOUND when it is gone.
// - Files of users are written at once. Temporary files allocate at start_writeback(), dedupe()
//   and sync(); every contiguous stretch of dirty blocks becomes one extent.
// - Holes have no file extent items (the feature no-holes, default of mkfs.btrfs).
//
// A snapshot copies the file extent items, and each copy says that it sits in a leaf which the
// original shares. Such an item is no reference of its own until it is rewritten. When the
// original's item goes first, the extent item counts one shared reference for all copies.
//
// Thread-safe: one mutex, held during each method, but neither while on_call runs nor while the
// visitor of csums() does. It must outlive the files that it opened.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/container/flat_hash_map.h>
#include <absl/synchronization/mutex.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "skep/btrfs/fault_plan.h"
#include "skep/btrfs/filesystem.h"

namespace skep::btrfs {

class MemoryStore;

struct MemoryOptions {
  std::uint32_t block_size = 4096;
  std::uint64_t capacity = std::numeric_limits<std::uint64_t>::max();  // of data, in bytes
  std::uint64_t max_extent_length = kMaxWrittenLength;                 // longer writes are cut
  std::uint64_t first_address = 1ULL << 20;
  // csums() visits stretches of at most this many blocks, as csum items end where leaves end.
  std::uint64_t csum_stretch_blocks = 1000;
};

class MemoryFilesystem : public Filesystem {
 public:
  explicit MemoryFilesystem(const MemoryOptions& options = {});
  ~MemoryFilesystem() override;

  // The interface. Names in the comments are what on_call is told.
  const FsInfo& info() const override { return info_; }
  absl::StatusOr<std::uint64_t> generation() override;  // "generation"
  absl::StatusOr<ExtentPage> extents(std::uint64_t first, std::uint64_t last,
                                     std::size_t buffer_bytes) override;  // "extents"
  absl::Status csums(std::uint64_t first, std::uint64_t end,
                     CsumVisitor visit) override;  // "csums"
  absl::StatusOr<FileMap> file_map(FileKey file, std::uint64_t first,
                                   std::uint64_t end) override;  // "file_map"
  absl::StatusOr<NamedInode> names(FileKey file) override;       // "names"
  absl::Status file_extents(std::uint64_t root, ItemPlace first, ItemPlace last,
                            FileExtentVisitor visit) override;  // "file_extents"
  absl::StatusOr<std::vector<LogicalRef>> logical_ino(std::uint64_t address, bool exact,
                                                      std::size_t limit) override;  // "logical_ino"
  absl::StatusOr<std::vector<Subvolume>> subvolumes() override;                     // "subvolumes"
  absl::StatusOr<SpaceInfo> space() override;                                       // "space"
  // ESTALE when there is no such file, as open_by_handle_at(2). "open"
  absl::StatusOr<std::shared_ptr<File>> open(const FileHandle& file) override;
  // "create_temporary"; its methods: "read", "readahead", "write", "start_writeback", "truncate".
  absl::StatusOr<std::shared_ptr<TemporaryFile>> create_temporary(ExtentKind kind) override;
  absl::StatusOr<std::vector<DedupeResult>> dedupe(
      File& source, std::uint64_t offset, std::uint64_t length,
      std::span<const DedupeTarget> targets) override;  // "dedupe"
  absl::StatusOr<std::uint64_t> sync() override;        // "sync"

  // Building, for tests: what users do. No faults, no on_call.
  std::uint64_t add_subvolume();
  // Copies `root` as it is, and commits. Files that are unlinked and open are left out.
  std::uint64_t snapshot(std::uint64_t root, bool read_only = true);
  // FAILED_PRECONDITION while one of its files is open, as open files hold a subvolume back.
  absl::Status remove_subvolume(std::uint64_t root);
  // A new file that holds `data`. Ends the program when `root` is unknown or space runs out: a
  // test that is set up wrongly must not go on. Use write() to meet ENOSPC.
  FileKey create(std::uint64_t root, std::span<const std::byte> data = {}, std::uint64_t flags = 0,
                 std::uint8_t compression = 0);
  // A new file under the number of one that is gone.
  void create_in_place_of(FileKey gone, std::span<const std::byte> data);
  // A file whose bytes, fewer than a block, are stored in its file extent item.
  FileKey create_inline(std::uint64_t root, std::span<const std::byte> data);
  // Copy on write, into new extents; in place where preallocated, or where the file is nodatacow
  // and nobody shares. `compression` as in FileExtent: extents of at most 128 KiB that take half
  // their length on disk; a single block is never compressed.
  absl::Status write(FileKey file, std::uint64_t offset, std::span<const std::byte> data,
                     std::uint8_t compression = 0);
  // Like FICLONERANGE: block-aligned, but `length` may end unaligned at the source's end.
  absl::Status reflink(FileKey source, std::uint64_t source_offset, std::uint64_t length,
                       FileKey destination, std::uint64_t destination_offset);
  // A hole, where whole blocks lie in the range; zeroes at its edges.
  absl::Status punch(FileKey file, std::uint64_t offset, std::uint64_t length);
  // Preallocated extents in the holes of the range; the file grows to its end.
  absl::Status fallocate(FileKey file, std::uint64_t offset, std::uint64_t length);
  // Shrinking leaves the bytes behind the new end in the last block on disk, as btrfs does: its
  // checksum still covers them. Growing rewrites such a block with zeroes.
  absl::Status truncate(FileKey file, std::uint64_t size);
  absl::Status remove(FileKey file);
  // Folders hold names alone. A file begins as "file-INODE" in the top folder of its subvolume, a
  // subvolume as "subvolume-ROOT" in that of the top level. A snapshot has the folders of its
  // original.
  std::uint64_t create_folder(std::uint64_t root, const FileName& name);  // its inode
  // A file or folder of its subvolume gets another name, instead of all that it had.
  absl::Status rename(FileKey file, const FileName& name);
  // A file gets one more name.
  absl::Status link(FileKey file, const FileName& name);
  absl::Status move_subvolume(std::uint64_t root, std::uint64_t parent, const FileName& place);
  // Flags of the inode item: kInodeNodatasum, kInodeNodatacow, kInodeImmutable.
  absl::Status set_flags(FileKey file, std::uint64_t flags);

  // Looking, for tests. No faults, no on_call.
  std::vector<std::byte> read_all(FileKey file) const;  // empty when there is no such file
  std::vector<FileKey> files() const;                   // all that have a link, ascending
  std::uint64_t data_used() const;                      // bytes of extents, like space()
  std::size_t extent_count() const;                     // like data_used()
  // INTERNAL with the first broken invariant: file extent items overlap or leave their extent,
  // references do not add up, extents overlap, space is miscounted, a checksum is not that of its
  // bytes, an extent without references outlived a sync(), or logical_ino() overlapped dedupe().
  absl::Status check() const;
  // How often a method of the interface was called.
  std::uint64_t calls(std::string_view call) const;

  void set_faults(const FaultPlan& plan);
  std::uint64_t faults_injected() const;
  // Called at the start of each call of the interface, by the thread that calls and without a
  // lock, so that it may change files. It is not called again for calls that it makes itself.
  void set_on_call(std::function<void(std::string_view call)> on_call);

 private:
  friend class MemoryUserFile;
  friend class MemoryTemporaryFile;

  // What the files delegate.
  absl::StatusOr<std::size_t> read(FileKey file, std::uint64_t offset, std::span<std::byte> out);
  void readahead();
  absl::Status write_temporary(FileKey file, std::uint64_t offset, std::span<const std::byte> data);
  void start_writeback(FileKey file);
  absl::Status truncate_temporary(FileKey file, std::uint64_t size);
  void close(FileKey file);

  void begin(std::string_view call) ABSL_LOCKS_EXCLUDED(mutex_);
  // The error to make up for this call, or OK.
  absl::Status fault(std::string_view call, double not_found = 0, double no_space = 0)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  DedupeResult dedupe_one(FileKey source, std::uint64_t offset, std::uint64_t length,
                          FileKey target, std::uint64_t target_offset)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  FsInfo info_;
  const MemoryOptions options_;
  mutable absl::Mutex mutex_;
  const std::unique_ptr<MemoryStore> store_ ABSL_PT_GUARDED_BY(mutex_);
  FaultInjector faults_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const std::function<void(std::string_view)>> on_call_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, std::uint64_t> calls_ ABSL_GUARDED_BY(mutex_);
  // Calls that are under way, from before the lock is taken.
  std::atomic<int> resolving_{0};
  std::atomic<int> sharing_{0};
  std::atomic<bool> overlapped_{false};
};

}  // namespace skep::btrfs
