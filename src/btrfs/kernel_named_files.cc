// SPDX-License-Identifier: MIT
#include "skep/btrfs/kernel_named_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/btrfs.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "dedupe_range.h"
#include "kernel_file.h"
#include "skep/btrfs/descriptor.h"
#include "skep/btrfs/status.h"

namespace skep::btrfs {
namespace {

constexpr std::size_t kExtentsPerCall = 512;

class OpenNamedFile final : public NamedFile {
 public:
  OpenNamedFile(std::string path, Descriptor fd, const NamedFileInfo& info)
      : path_(std::move(path)), fd_(std::move(fd)), info_(info) {}
  int fd() const { return fd_.get(); }
  const std::string& path() const { return path_; }
  const NamedFileInfo& info() const override { return info_; }
  absl::StatusOr<std::size_t> read(std::uint64_t offset, std::span<std::byte> out) override {
    return read_fully(
        fd_.get(), [this] { return path_; }, offset, out);
  }
  void readahead(std::uint64_t offset, std::uint64_t length) override {
    start_readahead(fd_.get(), offset, length);
  }
  absl::StatusOr<ExtentMap> map() override;

 private:
  const std::string path_;
  const Descriptor fd_;
  const NamedFileInfo info_;
};

MappedExtent mapped(const fiemap_extent& raw) {
  MappedExtent out{raw.fe_logical, raw.fe_physical, raw.fe_length};
  out.shared = raw.fe_flags & FIEMAP_EXTENT_SHARED;
  out.packed = raw.fe_flags & FIEMAP_EXTENT_ENCODED;
  out.placed = !(raw.fe_flags & (FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_UNKNOWN |
                                 FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_DATA_TAIL));
  return out;
}

absl::StatusOr<ExtentMap> OpenNamedFile::map() {
  ExtentMap out;
  std::vector<std::uint64_t> buffer((sizeof(fiemap) + kExtentsPerCall * sizeof(fiemap_extent)) / 8);
  auto* args = reinterpret_cast<fiemap*>(buffer.data());
  std::uint64_t start = 0;
  for (;;) {
    std::memset(args, 0, sizeof *args);
    args->fm_start = start;
    args->fm_length = FIEMAP_MAX_OFFSET - start;
    args->fm_flags = FIEMAP_FLAG_SYNC;
    args->fm_extent_count = kExtentsPerCall;
    if (ioctl(fd_.get(), FS_IOC_FIEMAP, args) != 0) {
      if (errno == EINTR) continue;
      return errno_status(errno, "FIEMAP", path_);
    }
    if (args->fm_mapped_extents == 0) return out;
    for (std::uint32_t i = 0; i < args->fm_mapped_extents; ++i) {
      out.push_back(mapped(args->fm_extents[i]));
      if (args->fm_extents[i].fe_flags & FIEMAP_EXTENT_LAST) return out;
    }
    if (out.size() > kMaxMappedExtents) {
      return absl::ResourceExhaustedError(
          fmt::format("{}: over {} extents", path_, kMaxMappedExtents));
    }
    start = out.back().offset + out.back().length;
  }
}

std::string_view kind_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return "a directory; name the files in it";
    case S_IFLNK:
      return "a symbolic link; name the file itself";
    case S_IFIFO:
      return "a fifo";
    case S_IFSOCK:
      return "a socket";
    case S_IFBLK:
    case S_IFCHR:
      return "a device";
    default:
      return "no regular file";
  }
}

absl::Status no_file(const std::string& path, mode_t mode) {
  return absl::InvalidArgumentError(fmt::format("{}: is {}", path, kind_of(mode)));
}

// Without changing its time of access, where the kernel allows that.
Descriptor open_for_reading(const std::string& path) {
  constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  Descriptor fd(open(path.c_str(), kFlags | O_NOATIME));
  if (fd || errno != EPERM) return fd;
  return Descriptor(open(path.c_str(), kFlags));
}

// The same for all subvolumes, which have device numbers of their own.
std::optional<std::uint64_t> btrfs_id(int fd) {
  btrfs_ioctl_fs_info_args info{};
  if (ioctl(fd, BTRFS_IOC_FS_INFO, &info) != 0) return std::nullopt;
  std::uint64_t halves[2];
  static_assert(sizeof halves == sizeof info.fsid);
  std::memcpy(halves, info.fsid, sizeof halves);
  return halves[0] ^ halves[1];
}

// The kernel lets a descriptor that is open for reading be a target for whoever owns the file, may
// write it, or has CAP_SYS_ADMIN; immutable files never.
bool may_be_target(const std::string& path, const struct stat& st, unsigned attributes) {
  if (attributes & FS_IMMUTABLE_FL) return false;
  return geteuid() == 0 || geteuid() == st.st_uid ||
         faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS | AT_SYMLINK_NOFOLLOW) == 0;
}

absl::StatusOr<NamedFileInfo> look_at(const std::string& path, int fd) {
  struct stat st {};
  struct statfs fs {};
  if (fstat(fd, &st) != 0) return errno_status(errno, "fstat", path);
  if (!S_ISREG(st.st_mode)) return no_file(path, st.st_mode);
  if (fstatfs(fd, &fs) != 0) return errno_status(errno, "fstatfs", path);
  unsigned attributes = 0;
  // Filesystems without attributes have none.
  if (ioctl(fd, FS_IOC_GETFLAGS, &attributes) != 0) attributes = 0;
  NamedFileInfo out;
  out.device = st.st_dev;
  out.inode = st.st_ino;
  out.frees_whole_extents = fs.f_type == BTRFS_SUPER_MAGIC;
  out.filesystem = st.st_dev;
  if (out.frees_whole_extents) out.filesystem = btrfs_id(fd).value_or(st.st_dev);
  out.size = static_cast<std::uint64_t>(st.st_size);
  if (fs.f_bsize > 0) out.block_size = static_cast<std::uint64_t>(fs.f_bsize);
  out.nocow = attributes & FS_NOCOW_FL;
  out.may_be_target = may_be_target(path, st, attributes);
  return out;
}

}  // namespace

absl::StatusOr<std::unique_ptr<NamedFile>> KernelNamedFiles::open(const std::string& path) {
  // To open a device can do something to it, so it is looked at first. What it is when it is open
  // is looked at again.
  struct stat st {};
  if (lstat(path.c_str(), &st) != 0) return errno_status(errno, "lstat", path);
  if (!S_ISREG(st.st_mode)) return no_file(path, st.st_mode);
  Descriptor fd = open_for_reading(path);
  if (!fd) return errno_status(errno, "open", path);
  auto info = look_at(path, fd.get());
  if (!info.ok()) return info.status();
  return std::make_unique<OpenNamedFile>(path, std::move(fd), *info);
}

absl::StatusOr<std::vector<DedupeResult>> KernelNamedFiles::dedupe(
    NamedFile& source, std::uint64_t offset, std::uint64_t length,
    std::span<const RangeTarget> targets) {
  std::vector<OpenTarget> open_targets;
  open_targets.reserve(targets.size());
  for (const RangeTarget& target : targets) {
    open_targets.push_back({dynamic_cast<OpenNamedFile&>(*target.file).fd(), target.offset});
  }
  const auto& from = dynamic_cast<OpenNamedFile&>(source);
  return dedupe_range(from.fd(), from.path(), offset, length, open_targets);
}

}  // namespace skep::btrfs
