// SPDX-License-Identifier: MIT
//
// Filesystem on the running kernel. Files are opened by handle (open_by_handle_at with
// FILEID_BTRFS_WITHOUT_PARENT), so any mount point of the filesystem serves for all subvolumes.
// Needs CAP_SYS_ADMIN (tree search, LOGICAL_INO, sharing into files that are open for reading),
// CAP_DAC_READ_SEARCH (handles) and CAP_FOWNER (O_NOATIME on other users' files). Thread-safe as
// filesystem.h says.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "skep/btrfs/descriptor.h"
#include "skep/btrfs/filesystem.h"
#include "skep/btrfs/handle_cache.h"

namespace skep::btrfs {

class KernelFilesystem final : public Filesystem {
 public:
  // Opens the filesystem mounted at `mount_point`, through a mount of its own that stands in no
  // mount table where the kernel allows that (open_tree(2), since 5.2): the mount point can then be
  // unmounted meanwhile, and the filesystem goes once this object does. At most `max_open_files`
  // stay open while unused. Errors: errno_status with ENOTTY when it is not btrfs, EPERM without
  // the capabilities, EROFS when mounted read-only.
  // kWritable: the mount of its own can be written to also where the mount point cannot, as in the
  // sandbox of a service; not where the filesystem as a whole is read-only.
  // kReadOnlyWillDo: nothing is to be written.
  enum class Flags { kAsMounted, kWritable, kReadOnlyWillDo };
  static absl::StatusOr<std::unique_ptr<KernelFilesystem>> open_mount(
      const std::string& mount_point, std::size_t max_open_files = 2048,
      Flags flags = Flags::kAsMounted);

  // Takes an advisory lock on the top-level subvolume's directory, held until this object goes:
  // nothing is left behind by a crash, and every mount point meets the same lock. UNAVAILABLE when
  // somebody else holds it.
  absl::Status lock_exclusively();

  const FsInfo& info() const override { return info_; }
  absl::StatusOr<std::uint64_t> generation() override;
  absl::StatusOr<ExtentPage> extents(std::uint64_t first, std::uint64_t last,
                                     std::size_t buffer_bytes) override;
  absl::StatusOr<ExtentPage> extents_since(std::uint64_t first, std::uint64_t generation,
                                           std::size_t buffer_bytes) override;
  absl::Status csums(std::uint64_t first, std::uint64_t end, CsumVisitor visit) override;
  absl::Status csums_since(std::uint64_t first, std::uint64_t generation,
                           NewCsumVisitor visit) override;
  absl::StatusOr<FileMap> file_map(FileKey file, std::uint64_t first, std::uint64_t end) override;
  absl::StatusOr<NamedInode> names(FileKey file) override;
  absl::Status file_extents(std::uint64_t root, ItemPlace first, ItemPlace last,
                            FileExtentVisitor visit) override;
  absl::StatusOr<std::vector<LogicalRef>> logical_ino(std::uint64_t address, bool exact,
                                                      std::size_t limit) override;
  absl::StatusOr<std::vector<Subvolume>> subvolumes() override;
  absl::StatusOr<SpaceInfo> space() override;
  absl::StatusOr<std::shared_ptr<File>> open(const FileHandle& file) override;
  absl::StatusOr<std::shared_ptr<TemporaryFile>> create_temporary(ExtentKind kind) override;
  absl::StatusOr<std::vector<DedupeResult>> dedupe(File& source, std::uint64_t offset,
                                                   std::uint64_t length,
                                                   std::span<const DedupeTarget> targets) override;
  absl::Status write_back() override;
  absl::StatusOr<std::uint64_t> sync() override;
  void let_go_of_files() override { handles_.clear(); }
  void let_go_of_old_files() override { handles_.close_old(); }

 private:
  struct Range {
    std::uint64_t first = 0, last = 0;
  };
  KernelFilesystem(std::string name, Descriptor root, std::size_t max_open_files);
  absl::Status read_info();
  absl::Status open_top_level();
  absl::Status add_devices(SpaceInfo& space) const;
  absl::StatusOr<ExtentPage> extents_page(Range range, std::uint64_t generation,
                                          std::size_t buffer_bytes);
  absl::Status walk_csums(Range range, std::uint64_t generation, NewCsumVisitor visit);
  absl::StatusOr<Descriptor> open_handle(FileHandle file, int flags);

  const std::string name_;         // for messages
  Descriptor root_;                // directory at the mount point
  Descriptor top_level_;           // directory of subvolume 5; temporary files are made there
  bool needs_generation_ = false;  // a handle without one opens nothing (before Linux 6.2)
  FsInfo info_;
  HandleCache handles_;
};

// The generation of the filesystem that is mounted there: of the transaction that runs, or, while
// none does, of the last one. Through a mount of its own, as open_mount() does, and not for longer
// than that takes.
absl::StatusOr<std::uint64_t> generation_at(const std::string& mount_point);

}  // namespace skep::btrfs
