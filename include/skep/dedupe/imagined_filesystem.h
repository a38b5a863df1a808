// SPDX-License-Identifier: MIT
//
// A filesystem as a run would leave it, without the run: everything is read from the real one,
// extents that would be gone are hidden, and what would be copied appears. Nothing is written, and
// no file can be opened: no data is read.
//
// Copies lie where no real extent is, above kCopies, each in a file of its own that nobody else
// has. They, and what is gone, show once they are committed with sync(), as on the real one; that
// commits nothing but imagination. What is written to the real one meanwhile is not noticed.
//
// Memory: a bit for each block of a GiB in which something is gone (32 MiB a TiB at most), and 8
// bytes for each block that is copied, up to kMostCopiedBlocks; more are counted and not shown.
//
// Thread-safe, as filesystem.h says.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/container/flat_hash_map.h>
#include <absl/synchronization/mutex.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/index/fingerprint.h"

namespace skep::dedupe {

// Which extents are looked at: large ones all, of the others those that begin in chosen stretches
// of addresses, one in `one_in`. Large extents are few, hold much, and overlap in part: of two that
// do, one goes, and which one is known only when both were looked at.
class Sample {
 public:
  static constexpr std::uint64_t kStretchBytes = 16ULL << 20;
  static constexpr std::uint64_t kLargeBytes = 512ULL << 10;

  // Another seed chooses other stretches.
  explicit Sample(std::uint64_t one_in = 1, std::uint64_t seed = 1)
      : one_in_(one_in == 0 ? 1 : one_in), seed_(seed) {}
  std::uint64_t one_in() const { return one_in_; }
  bool all() const { return one_in_ == 1; }
  static std::uint64_t stretch_of(std::uint64_t address) { return address / kStretchBytes; }
  // Of each `one_in` stretches that follow each other one is chosen, as good as at random; it
  // stands for the others.
  std::uint64_t chosen_for(std::uint64_t stretch) const {
    const std::uint64_t group = stretch / one_in_;
    return group * one_in_ + index::mix(group ^ index::mix(seed_)) % one_in_;
  }
  bool chooses(std::uint64_t stretch) const { return chosen_for(stretch) == stretch; }
  bool takes(std::uint64_t address, std::uint64_t length) const {
    return length >= kLargeBytes || chooses(stretch_of(address));
  }

 private:
  std::uint64_t one_in_, seed_;
};

class ImaginedFilesystem final : public btrfs::Filesystem {
 public:
  static constexpr std::uint64_t kCopies = 1ULL << 53;
  static constexpr std::uint64_t kMostCopiedBlocks = 1ULL << 22;  // 32 MiB

  // `real` and `fingerprinter` are borrowed; `generation` is the one that the real one is at.
  // extents_since() shows of the real extents those that `sample` takes, extents() all.
  ImaginedFilesystem(btrfs::Filesystem& real, const index::Fingerprinter& fingerprinter,
                     std::uint64_t generation, const Sample& sample = Sample());

  // The extent goes with the next commit.
  void remove(const btrfs::Extent& extent) ABSL_LOCKS_EXCLUDED(mutex_);
  // A place for so many blocks, at which nothing is ever shown.
  std::uint64_t reserve(std::uint64_t blocks) ABSL_LOCKS_EXCLUDED(mutex_);
  // An extent of blocks with these fingerprints comes with the next commit. Returns its address.
  std::uint64_t add_copies(std::vector<index::Fingerprint> blocks) ABSL_LOCKS_EXCLUDED(mutex_);
  // Metadata grows by so much, as on disk.
  void grow_metadata(std::uint64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  static bool is_copy(std::uint64_t address) { return address >= kCopies; }

  const btrfs::FsInfo& info() const override { return real_.info(); }
  absl::StatusOr<std::uint64_t> generation() override;
  absl::StatusOr<btrfs::ExtentPage> extents(std::uint64_t first, std::uint64_t last,
                                            std::size_t buffer_bytes) override;
  absl::StatusOr<btrfs::ExtentPage> extents_since(std::uint64_t first, std::uint64_t generation,
                                                  std::size_t buffer_bytes) override;
  absl::Status csums(std::uint64_t first, std::uint64_t end, CsumVisitor visit) override;
  absl::StatusOr<btrfs::FileMap> file_map(btrfs::FileKey file, std::uint64_t first,
                                          std::uint64_t end) override;
  absl::StatusOr<btrfs::NamedInode> names(btrfs::FileKey file) override;
  absl::Status file_extents(std::uint64_t root, btrfs::ItemPlace first, btrfs::ItemPlace last,
                            FileExtentVisitor visit) override;
  absl::StatusOr<std::vector<btrfs::LogicalRef>> logical_ino(std::uint64_t address, bool exact,
                                                             std::size_t limit) override;
  absl::StatusOr<std::vector<btrfs::Subvolume>> subvolumes() override;
  absl::StatusOr<btrfs::SpaceInfo> space() override;
  // PERMISSION_DENIED, these three.
  absl::StatusOr<std::shared_ptr<btrfs::File>> open(const btrfs::FileHandle& file) override;
  absl::StatusOr<std::shared_ptr<btrfs::TemporaryFile>> create_temporary(
      btrfs::ExtentKind kind) override;
  absl::StatusOr<std::vector<btrfs::DedupeResult>> dedupe(
      btrfs::File& source, std::uint64_t offset, std::uint64_t length,
      std::span<const btrfs::DedupeTarget> targets) override;
  absl::StatusOr<std::uint64_t> sync() override;

 private:
  struct Copies {
    btrfs::Extent extent;
    std::vector<index::Fingerprint> blocks;
    bool gone = false;
  };
  using Bits = std::vector<bool>;
  static constexpr std::uint64_t kChunkBytes = 1ULL << 30;

  std::uint64_t reserve_locked(std::uint64_t blocks) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool is_gone(std::uint64_t address) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void mark_gone(const btrfs::Extent& extent) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void visit_those_there(std::uint64_t address, std::span<const std::byte> sums,
                         CsumVisitor visit) const ABSL_LOCKS_EXCLUDED(mutex_);
  void visit_copies(std::uint64_t first, std::uint64_t end, CsumVisitor visit) const
      ABSL_LOCKS_EXCLUDED(mutex_);
  void leave_those_there(std::vector<btrfs::Extent>& extents) const ABSL_LOCKS_EXCLUDED(mutex_);
  btrfs::ExtentPage copies_page(std::uint64_t first, std::uint64_t last,
                                std::uint64_t generation) const ABSL_LOCKS_EXCLUDED(mutex_);

  btrfs::Filesystem& real_;
  const index::Fingerprinter& fingerprinter_;
  const std::uint64_t base_generation_;
  const Sample sample_;
  const std::uint64_t block_;
  mutable absl::Mutex mutex_;
  std::uint64_t generation_ ABSL_GUARDED_BY(mutex_);
  // A bit for each block of real extents that are gone, by chunk.
  absl::flat_hash_map<std::uint64_t, Bits> gone_ ABSL_GUARDED_BY(mutex_);
  std::vector<btrfs::Extent> going_ ABSL_GUARDED_BY(mutex_);        // with the next commit
  std::map<std::uint64_t, Copies> copies_ ABSL_GUARDED_BY(mutex_);  // by address
  std::uint64_t copied_blocks_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t next_address_ ABSL_GUARDED_BY(mutex_) = kCopies;
  std::uint64_t metadata_growth_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace skep::dedupe
