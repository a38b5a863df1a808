// SPDX-License-Identifier: MIT
//
// The one door to the kernel. Everything above src/btrfs works through these two interfaces, so
// that each stage can be tested without root against MemoryFilesystem, the twin that injects
// faults, and runs unchanged on KernelFilesystem.
//
// Thread safety: all methods of Filesystem and File may be called from several threads at once,
// with two exceptions that the caller keeps: logical_ino() never overlaps dedupe() (the kernel can
// loop for ever, see PhaseGate), and a temporary File belongs to one thread at a time.
// Errors: absl::Status made by errno_status().
#pragma once

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "skep/btrfs/types.h"

namespace skep::btrfs {

// An open file of the filesystem. Files of users are open for reading only: through this class
// the bytes of a user's file cannot be changed.
class File {
 public:
  virtual ~File() = default;
  virtual FileKey key() const = 0;
  // Fills `out` from `offset`; short only at the end of the file. Returns the bytes read.
  virtual absl::StatusOr<std::size_t> read(std::uint64_t offset, std::span<std::byte> out) = 0;
  // Which pages (of the kernel's page size) of [offset, offset + length) the page cache holds.
  // A hint: empty when that cannot be told, and it changes while one looks.
  virtual std::vector<bool> cached_pages(std::uint64_t offset, std::uint64_t length) = 0;
  // Starts reading a range into the page cache and returns without waiting. A hint: no errors.
  virtual void readahead(std::uint64_t offset, std::uint64_t length) = 0;
  // Lets the page cache forget a range. A hint; pages that are mapped or dirty stay.
  virtual void drop_cached(std::uint64_t offset, std::uint64_t length) = 0;
};

// A file of skep's own: unlinked from the start, gone when the last owner lets go.
class TemporaryFile : public File {
 public:
  virtual absl::Status write(std::uint64_t offset, std::span<const std::byte> data) = 0;
  // Starts writing dirty pages back; does not wait.
  virtual void start_writeback() = 0;
  virtual absl::Status truncate(std::uint64_t size) = 0;
};

struct DedupeTarget {
  std::shared_ptr<File> file;
  std::uint64_t offset = 0;
};

// What FIDEDUPERANGE says of one target. kSame is a claim, not a proof: the kernel reports blocks
// as shared that it left alone (the tail rule), so what was freed is read from the extent tree.
struct DedupeResult {
  enum class Outcome { kSame, kDiffers, kError };
  Outcome outcome = Outcome::kError;
  int error = 0;            // errno, for kError
  std::uint64_t bytes = 0;  // of the range, for kSame; may be less than asked, may be 0
};

// FIDEDUPERANGE's argument must fit a page: 24 + 127 * 32 bytes do, 128 targets give ENOMEM.
inline constexpr std::size_t kMaxDedupeTargets = 127;

struct ExtentPage {
  std::vector<Extent> extents;
  std::uint64_t next = 0;  // where to go on
  bool done = false;       // nothing more in the range
};

// Where a file extent item stands in its subvolume's tree.
struct ItemPlace {
  std::uint64_t inode = 0;
  std::uint64_t file_offset = 0;
  auto operator<=>(const ItemPlace&) const = default;  // NOLINT(modernize-use-nullptr)
};

class Filesystem {
 public:
  virtual ~Filesystem() = default;

  virtual const FsInfo& info() const = 0;
  // The last transaction that was committed or is running.
  virtual absl::StatusOr<std::uint64_t> generation() = 0;
  // Data extents whose address lies in [first, last], ascending, as many as one call of the kernel
  // gives; `buffer_bytes` bounds the call.
  virtual absl::StatusOr<ExtentPage> extents(std::uint64_t first, std::uint64_t last,
                                             std::size_t buffer_bytes) = 0;
  // The data extent at exactly this address, if there is one (still).
  absl::StatusOr<std::optional<Extent>> extent_at(std::uint64_t address);
  // The same from `first` to the end, but extents older than `generation` may be left out: for
  // walks that look for what is new, whose cost is then that of the metadata written since.
  virtual absl::StatusOr<ExtentPage> extents_since(std::uint64_t first, std::uint64_t generation,
                                                   std::size_t buffer_bytes);
  // Calls `visit` with each stretch of checksums in [first, end), ascending: the address of its
  // first block and info().csum_size bytes for each block. Blocks without checksum are left out.
  using CsumVisitor = absl::FunctionRef<void(std::uint64_t, std::span<const std::byte>)>;
  virtual absl::Status csums(std::uint64_t first, std::uint64_t end, CsumVisitor visit) = 0;
  // The same from `first` to the end until `visit` returns false, but checksums older than
  // `generation` may be left out, and others come along.
  using NewCsumVisitor = absl::FunctionRef<bool(std::uint64_t, std::span<const std::byte>)>;
  virtual absl::Status csums_since(std::uint64_t first, std::uint64_t generation,
                                   NewCsumVisitor visit);
  // The inode, and its file extent items whose file offset lies in [first, end). NOT_FOUND when
  // there is no such inode.
  virtual absl::StatusOr<FileMap> file_map(FileKey file, std::uint64_t first,
                                           std::uint64_t end) = 0;
  // The inode of a file or folder with its names; nothing is opened, no path is walked. NOT_FOUND
  // when there is no such inode.
  virtual absl::StatusOr<NamedInode> names(FileKey file) = 0;
  // Calls `visit` with each file extent item of subvolume `root` in [first, last], in their order.
  using FileExtentVisitor = absl::FunctionRef<void(std::uint64_t inode, const FileExtent&)>;
  virtual absl::Status file_extents(std::uint64_t root, ItemPlace first, ItemPlace last,
                                    FileExtentVisitor visit) = 0;
  // Every reference to any part of the extent at `address` (LOGICAL_INO_V2, IGNORE_OFFSET), or,
  // with `exact`, to the block at `address` only. RESOURCE_EXHAUSTED when more than `limit`;
  // NOT_FOUND when the extent is gone.
  virtual absl::StatusOr<std::vector<LogicalRef>> logical_ino(std::uint64_t address, bool exact,
                                                              std::size_t limit) = 0;
  virtual absl::StatusOr<std::vector<Subvolume>> subvolumes() = 0;
  virtual absl::StatusOr<SpaceInfo> space() = 0;
  // ESTALE when the file is gone, or when its number was used anew and the handle has a generation.
  virtual absl::StatusOr<std::shared_ptr<File>> open(const FileHandle& file) = 0;
  // Its data is stored as `kind` says: compressed where that makes it smaller.
  virtual absl::StatusOr<std::shared_ptr<TemporaryFile>> create_temporary(ExtentKind kind) = 0;
  // Compares [offset, offset + length) of `source` with each target and shares what is equal. At
  // most kMaxDedupeTargets. The status is for the call; each target has a result of its own.
  virtual absl::StatusOr<std::vector<DedupeResult>> dedupe(
      File& source, std::uint64_t offset, std::uint64_t length,
      std::span<const DedupeTarget> targets) = 0;
  // Writes back everybody's dirty data, so that it has extents and checksums after the next sync().
  // Nothing to do where writes are never delayed.
  virtual absl::Status write_back() { return absl::OkStatus(); }
  // Closes files that are open for later use only.
  virtual void let_go_of_files() {}
  // Those of them that have been open for long; for every now and then, while work goes on.
  virtual void let_go_of_old_files() {}
  // Commits the running transaction and returns its generation: extents of that generation and
  // older are all there, and what was freed before shows in extents().
  virtual absl::StatusOr<std::uint64_t> sync() = 0;
};

}  // namespace skep::btrfs
