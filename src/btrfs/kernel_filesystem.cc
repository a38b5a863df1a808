// SPDX-License-Identifier: MIT
#include "skep/btrfs/kernel_filesystem.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <iterator>
#include <utility>

#include "dedupe_range.h"
#include "inode_names.h"
#include "kernel_file.h"
#include "skep/btrfs/kernel_version.h"
#include "skep/btrfs/status.h"
#include "skep/btrfs/tree_search.h"

namespace skep::btrfs {
namespace {

// So long what users delete may take its space with it. To open a file again takes 7 us.
constexpr auto kMostAge = std::chrono::seconds(2);

// struct file_handle with btrfs's 20 byte file id (fs/btrfs/export.h).
struct BtrfsHandle {
  std::uint32_t handle_bytes = 20;
  std::int32_t handle_type = 0x4d;  // FILEID_BTRFS_WITHOUT_PARENT
  struct __attribute__((packed)) {
    std::uint64_t inode;
    std::uint64_t root;
    std::uint32_t generation;  // of the inode, its low half; 0: any, since Linux 6.2
  } id{};
};
static_assert(offsetof(BtrfsHandle, id) == sizeof(struct file_handle));
static_assert(sizeof(BtrfsHandle::id) == 20);

// 0 when it cannot be told. The kernel gives the low half, which is all that a handle has.
std::uint64_t generation_of_inode(int fd) {
  int generation = 0;  // whatever the number of the ioctl says
  if (ioctl(fd, FS_IOC_GETVERSION, &generation) != 0) return 0;
  return static_cast<std::uint32_t>(generation);
}

int fd_of(File& file) {
  if (auto* kernel_file = dynamic_cast<KernelFile*>(&file)) return kernel_file->fd();
  return dynamic_cast<KernelTemporaryFile&>(file).fd();
}

std::uint32_t copies_of(std::uint64_t flags) {
  if (flags & (BTRFS_BLOCK_GROUP_RAID1C4)) return 4;
  if (flags & (BTRFS_BLOCK_GROUP_RAID1C3)) return 3;
  if (flags & (BTRFS_BLOCK_GROUP_DUP | BTRFS_BLOCK_GROUP_RAID1 | BTRFS_BLOCK_GROUP_RAID10)) {
    return 2;
  }
  return 1;
}

// The directory may hand down NOCOW (its files then share with nothing that has checksums) or
// compression; what counts here is how the victim is stored.
absl::Status set_kind(int fd, ExtentKind kind) {
  int flags = 0;
  if (ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0) flags = 0;
  const int wanted = (flags & ~(FS_NOCOW_FL | FS_COMPR_FL)) | (kind.nodatasum ? FS_NOCOW_FL : 0);
  if (wanted != flags && ioctl(fd, FS_IOC_SETFLAGS, &wanted) != 0) {
    return errno_status(errno, "FS_IOC_SETFLAGS", "temporary file");
  }
  if (kind.compression == 0) return absl::OkStatus();
  // btrfs's own property (btrfs-property(8)): names the algorithm, which FS_COMPR_FL does not.
  constexpr const char* kNames[] = {"none", "zlib", "lzo", "zstd"};
  const char* name = kNames[std::min<std::size_t>(kind.compression, std::size(kNames) - 1)];
  if (fsetxattr(fd, "btrfs.compression", name, std::strlen(name), 0) != 0) {
    return errno_status(errno, "fsetxattr(btrfs.compression)", "temporary file");
  }
  return absl::OkStatus();
}

// The directory at a mount point, by a clone of the mount that stands in no mount table; by the
// mount itself where that cannot be had.
Descriptor open_apart(const std::string& mount_point, KernelFilesystem::Flags flags) {
  const Descriptor clone(open_tree(AT_FDCWD, mount_point.c_str(),
                                   OPEN_TREE_CLONE | static_cast<unsigned>(OPEN_TREE_CLOEXEC)));
  if (!clone) return Descriptor(::open(mount_point.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (flags == KernelFilesystem::Flags::kWritable) {
    struct mount_attr change {};
    change.attr_clr = MOUNT_ATTR_RDONLY;
    // Where it fails the filesystem is found read-only, which is then told.
    const int failed = mount_setattr(clone.get(), "", AT_EMPTY_PATH, &change, sizeof change);
    if (failed != 0 && errno == ENOSYS) {
      note_missing(KernelFeature::kWritableMount);
    }
  }
  return Descriptor(openat(clone.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

absl::StatusOr<std::uint64_t> generation_of(int fd, const std::string& name) {
  btrfs_ioctl_fs_info_args args{};
  args.flags = BTRFS_FS_INFO_FLAG_GENERATION;
  if (ioctl(fd, BTRFS_IOC_FS_INFO, &args) != 0) return errno_status(errno, "FS_INFO", name);
  return args.generation;
}

void add_space(Space& space, const btrfs_ioctl_space_info& raw) {
  space.total += raw.total_bytes;
  space.used += raw.used_bytes;
  space.copies = std::max(space.copies, copies_of(raw.flags));
}

}  // namespace

KernelFilesystem::KernelFilesystem(std::string name, Descriptor root, std::size_t max_open_files)
    : name_(std::move(name)), root_(std::move(root)), handles_(max_open_files, kMostAge) {}

absl::StatusOr<std::unique_ptr<KernelFilesystem>> KernelFilesystem::open_mount(
    const std::string& mount_point, std::size_t max_open_files, Flags flags) {
  Descriptor root = open_apart(mount_point, flags);
  if (!root) return errno_status(errno, "open", mount_point);
  std::unique_ptr<KernelFilesystem> fs(
      new KernelFilesystem(mount_point, std::move(root), max_open_files));
  if (auto status = fs->read_info(); !status.ok()) return status;
  struct statvfs vfs {};
  if (fstatvfs(fs->root_.get(), &vfs) != 0) return errno_status(errno, "statvfs", mount_point);
  const bool read_only = vfs.f_flag & ST_RDONLY;
  if (read_only && flags != Flags::kReadOnlyWillDo)
    return errno_status(EROFS, "statvfs", mount_point);
  // Fails with EPERM where the capabilities are missing, before anything was begun.
  if (auto subvolumes = fs->subvolumes(); !subvolumes.ok()) return subvolumes.status();
  if (auto status = fs->open_top_level(); !status.ok()) return status;
  return fs;
}

absl::StatusOr<std::uint64_t> generation_at(const std::string& mount_point) {
  const Descriptor root = open_apart(mount_point, KernelFilesystem::Flags::kAsMounted);
  if (!root) return errno_status(errno, "open", mount_point);
  return generation_of(root.get(), mount_point);
}

absl::Status KernelFilesystem::open_top_level() {
  constexpr FileHandle kTopLevel(FileKey{kTopLevelRoot, kFirstFreeObjectid});
  auto top = open_handle(kTopLevel, O_RDONLY | O_DIRECTORY);
  if (errno_of(top.status()) == ESTALE) {
    needs_generation_ = true;
    note_missing(KernelFeature::kAnyGeneration);
    top = open_handle(kTopLevel, O_RDONLY | O_DIRECTORY);
  }
  if (!top.ok()) return top.status();
  top_level_ = *std::move(top);
  return absl::OkStatus();
}

absl::Status KernelFilesystem::read_info() {
  btrfs_ioctl_fs_info_args args{};
  args.flags = BTRFS_FS_INFO_FLAG_CSUM_INFO | BTRFS_FS_INFO_FLAG_GENERATION;
  if (ioctl(root_.get(), BTRFS_IOC_FS_INFO, &args) != 0) {
    return errno_status(errno, "FS_INFO", name_);
  }
  if (!(args.flags & BTRFS_FS_INFO_FLAG_CSUM_INFO)) {
    return absl::UnimplementedError(name_ + ": the kernel does not name the checksum (before 5.9)");
  }
  std::copy(std::begin(args.fsid), std::end(args.fsid), info_.uuid.begin());
  info_.block_size = args.sectorsize;
  info_.node_size = args.nodesize;
  info_.csum_type = static_cast<CsumType>(args.csum_type);
  info_.csum_size = args.csum_size;
  btrfs_ioctl_feature_flags features{};
  if (ioctl(root_.get(), BTRFS_IOC_GET_FEATURES, &features) == 0) {
    info_.has_compressed = features.incompat_flags & (BTRFS_FEATURE_INCOMPAT_COMPRESS_LZO |
                                                      BTRFS_FEATURE_INCOMPAT_COMPRESS_ZSTD);
  }
  if (info_.block_size < 512 || info_.csum_size < 4) {
    return absl::DataLossError(name_ + ": FS_INFO names no usable block or checksum size");
  }
  return absl::OkStatus();
}

absl::Status KernelFilesystem::lock_exclusively() {
  if (flock(top_level_.get(), LOCK_EX | LOCK_NB) == 0) return absl::OkStatus();
  if (errno == EWOULDBLOCK) return absl::UnavailableError(name_ + ": locked by another skep");
  return errno_status(errno, "flock", name_);
}

absl::StatusOr<std::uint64_t> KernelFilesystem::generation() {
  return generation_of(root_.get(), name_);
}

absl::StatusOr<ExtentPage> KernelFilesystem::extents(std::uint64_t first, std::uint64_t last,
                                                     std::size_t buffer_bytes) {
  return extents_page({first, last}, 0, buffer_bytes);
}

absl::StatusOr<ExtentPage> KernelFilesystem::extents_since(std::uint64_t first,
                                                           std::uint64_t generation,
                                                           std::size_t buffer_bytes) {
  return extents_page({first, kLastOffset}, generation, buffer_bytes);
}

absl::StatusOr<ExtentPage> KernelFilesystem::extents_page(Range range, std::uint64_t generation,
                                                          std::size_t buffer_bytes) {
  const auto [first, last] = range;
  TreeSearch search(root_.get(), buffer_bytes, info_.node_size, generation);
  ExtentPage page;
  auto step = search.step(BTRFS_EXTENT_TREE_OBJECTID, {first, BTRFS_EXTENT_ITEM_KEY, 0},
                          {last, BTRFS_EXTENT_ITEM_KEY, kLastOffset}, [&](const Item& item) {
                            if (auto extent = parse_extent_item(item)) {
                              page.extents.push_back(*std::move(extent));
                            }
                            return true;
                          });
  if (!step.ok()) return step.status();
  page.done = step->done;
  // The page may end inside an extent's own items (its keyed references): those are skipped. An
  // address never gets two data extents, so going on at the next address loses nothing.
  page.next =
      step->next.type > BTRFS_EXTENT_ITEM_KEY ? step->next.objectid + 1 : step->next.objectid;
  if (!page.extents.empty()) page.next = std::max(page.next, page.extents.back().address + 1);
  if (page.next > last) page.done = true;
  return page;
}

absl::Status KernelFilesystem::csums(std::uint64_t first, std::uint64_t end, CsumVisitor visit) {
  return walk_csums({first, end - 1}, 0,
                    [&](std::uint64_t address, std::span<const std::byte> sums) {
                      visit(address, sums);
                      return true;
                    });
}

absl::Status KernelFilesystem::csums_since(std::uint64_t first, std::uint64_t generation,
                                           NewCsumVisitor visit) {
  return walk_csums({first, kLastOffset}, generation, visit);
}

absl::Status KernelFilesystem::walk_csums(Range range, std::uint64_t generation,
                                          NewCsumVisitor visit) {
  const std::uint64_t first = range.first, last = range.last;
  const std::uint64_t block = info_.block_size, size = info_.csum_size;
  // The kernel touches each page of the buffer, at each call. Checksums of a short range need few;
  // where they come in many small items, there is a further call.
  const std::uint64_t wanted = ((last - first) / block + 1) * (size + 8);
  const std::size_t buffer = std::clamp<std::uint64_t>(wanted, kLookUpBytes, kWalkBytes);
  TreeSearch search(root_.get(), buffer, info_.node_size, generation);
  // An item begins anywhere and covers what fits a leaf: one that begins before `first` may reach
  // into the range. No item covers more than a leaf's worth of checksums.
  const std::uint64_t reach = info_.node_size / size * block;
  const Key from{BTRFS_EXTENT_CSUM_OBJECTID, BTRFS_EXTENT_CSUM_KEY, first - std::min(first, reach)};
  const Key to{BTRFS_EXTENT_CSUM_OBJECTID, BTRFS_EXTENT_CSUM_KEY, last};
  return search.for_each(BTRFS_CSUM_TREE_OBJECTID, from, to, [&](const Item& item) {
    if (item.key.type != BTRFS_EXTENT_CSUM_KEY) return true;
    std::uint64_t address = item.key.offset;
    std::uint64_t blocks = item.data.size() / size;
    std::uint64_t skip = 0;
    if (address < first) skip = std::min(blocks, (first - address + block - 1) / block);
    address += skip * block;
    blocks -= skip;
    if (blocks == 0 || address > last) return true;
    blocks = std::min(blocks, (last - address) / block + 1);
    return visit(address, item.data.subspan(skip * size, blocks * size));
  });
}

absl::StatusOr<FileMap> KernelFilesystem::file_map(FileKey file, std::uint64_t first,
                                                   std::uint64_t end) {
  TreeSearch search(root_.get(), kLookUpBytes, info_.node_size);
  FileMap map;
  bool found = false;
  auto visit = [&](const Item& item) {
    if (item.key.objectid != file.inode) return true;
    if (auto inode = parse_inode_item(item)) {
      map.inode = *inode;
      found = true;
    } else if (auto extent = parse_file_extent(item)) {
      map.extents.push_back(*extent);
    }
    return true;
  };
  const Key inode_key{file.inode, BTRFS_INODE_ITEM_KEY, 0};
  const Key first_key{file.inode, BTRFS_EXTENT_DATA_KEY, first};
  const Key last_key{file.inode, BTRFS_EXTENT_DATA_KEY, end == 0 ? 0 : end - 1};
  // From the start of the file, inode and extents come in one call, with a name or two between.
  absl::Status status;
  if (first == 0) {
    status = search.for_each(file.root, inode_key, last_key, visit);
  } else {
    status = search.for_each(file.root, inode_key, inode_key, visit);
    if (status.ok()) status = search.for_each(file.root, first_key, last_key, visit);
  }
  if (!status.ok()) return status;
  if (!found) {
    return errno_status(ENOENT, "TREE_SEARCH_V2",
                        fmt::format("inode {} of root {}", file.inode, file.root));
  }
  return map;
}

absl::StatusOr<NamedInode> KernelFilesystem::names(FileKey file) {
  return inode_names(root_.get(), info_.node_size, file);
}

absl::Status KernelFilesystem::file_extents(std::uint64_t root, ItemPlace first, ItemPlace last,
                                            FileExtentVisitor visit) {
  constexpr std::size_t kNeighbourhoodBytes = 32 << 10;  // two leaves
  const bool one_file = first.inode == last.inode;
  TreeSearch search(root_.get(), one_file ? kLookUpBytes : kNeighbourhoodBytes, info_.node_size);
  return search.for_each(root, {first.inode, BTRFS_EXTENT_DATA_KEY, first.file_offset},
                         {last.inode, BTRFS_EXTENT_DATA_KEY, last.file_offset},
                         [&](const Item& item) {
                           if (auto extent = parse_file_extent(item)) {
                             visit(item.key.objectid, *extent);
                           }
                           return true;
                         });
}

absl::StatusOr<std::vector<LogicalRef>> KernelFilesystem::logical_ino(std::uint64_t address,
                                                                      bool exact,
                                                                      std::size_t limit) {
  // The kernel allocates and zeroes all it is offered at each call (23 us with 4 KiB, 72 us with
  // 1 MiB): begin small, grow to what it asks for.
  constexpr std::size_t kMaxBuffer = 16 << 20;
  std::size_t bytes = 4096;
  const auto name = [&] { return fmt::format("extent {:#x}", address); };
  for (;;) {
    std::vector<std::uint64_t> buffer(bytes / 8);
    btrfs_ioctl_logical_ino_args args{};
    args.logical = address;
    args.size = bytes;
    args.flags = exact ? 0 : BTRFS_LOGICAL_INO_ARGS_IGNORE_OFFSET;
    args.inodes = reinterpret_cast<std::uint64_t>(buffer.data());
    if (ioctl(root_.get(), BTRFS_IOC_LOGICAL_INO_V2, &args) != 0) {
      if (errno == EINTR) continue;
      return errno_status(errno, "LOGICAL_INO_V2", name());
    }
    const auto* head = reinterpret_cast<const btrfs_data_container*>(buffer.data());
    const std::size_t got = std::min<std::size_t>(head->elem_cnt / 3, (bytes - sizeof *head) / 24);
    const std::size_t total = got + head->elem_missed / 3;
    if (total > limit) {
      return absl::ResourceExhaustedError(fmt::format("{}: {} references", name(), total));
    }
    if (head->elem_missed != 0 && bytes >= kMaxBuffer) {
      return absl::ResourceExhaustedError(fmt::format("{}: over {} references", name(), got));
    }
    if (head->elem_missed != 0) {
      // Room for some more: references may be added between two calls.
      bytes = std::min(kMaxBuffer, sizeof *head + (total + 16) * 24);
      continue;
    }
    std::vector<LogicalRef> refs;
    refs.reserve(got);
    for (std::size_t i = 0; i < got; ++i) {
      refs.push_back({head->val[i * 3], head->val[i * 3 + 1], head->val[i * 3 + 2]});
    }
    return refs;
  }
}

absl::StatusOr<std::vector<Subvolume>> KernelFilesystem::subvolumes() {
  TreeSearch search(root_.get(), kWalkBytes, info_.node_size);
  std::vector<Subvolume> out;
  auto status =
      search.for_each(BTRFS_ROOT_TREE_OBJECTID, {kTopLevelRoot, BTRFS_ROOT_ITEM_KEY, 0},
                      {kLastFreeObjectid, BTRFS_ROOT_ITEM_KEY, kLastOffset}, [&](const Item& item) {
                        if (auto subvolume = parse_root_item(item)) {
                          out.push_back(*std::move(subvolume));
                        } else if (out.empty() || out.back().root != item.key.objectid) {
                          return true;
                        } else if (auto place = parse_root_backref(item)) {
                          out.back().parent = item.key.offset;
                          out.back().place = *std::move(place);
                        }
                        return true;
                      });
  if (!status.ok()) return status;
  return out;
}

absl::StatusOr<SpaceInfo> KernelFilesystem::space() {
  constexpr std::size_t kSlots = 64;  // one for each kind and profile; there are fewer
  std::vector<std::uint64_t> buffer(
      (sizeof(btrfs_ioctl_space_args) + kSlots * sizeof(btrfs_ioctl_space_info)) / 8 + 1);
  auto* args = reinterpret_cast<btrfs_ioctl_space_args*>(buffer.data());
  args->space_slots = kSlots;
  if (ioctl(root_.get(), BTRFS_IOC_SPACE_INFO, args) != 0) {
    return errno_status(errno, "SPACE_INFO", name_);
  }
  SpaceInfo out;
  for (std::uint64_t i = 0; i < std::min<std::uint64_t>(args->total_spaces, kSlots); ++i) {
    const auto& raw = args->spaces[i];
    if (raw.flags & BTRFS_SPACE_INFO_GLOBAL_RSV) continue;
    if (raw.flags & BTRFS_BLOCK_GROUP_DATA) add_space(out.data, raw);
    if (raw.flags & BTRFS_BLOCK_GROUP_METADATA) add_space(out.metadata, raw);
  }
  if (auto status = add_devices(out); !status.ok()) return status;
  return out;
}

absl::Status KernelFilesystem::add_devices(SpaceInfo& space) const {
  btrfs_ioctl_fs_info_args info{};
  if (ioctl(root_.get(), BTRFS_IOC_FS_INFO, &info) != 0) {
    return errno_status(errno, "FS_INFO", name_);
  }
  for (std::uint64_t id = 1; id <= info.max_id; ++id) {
    btrfs_ioctl_dev_info_args device{};
    device.devid = id;
    if (ioctl(root_.get(), BTRFS_IOC_DEV_INFO, &device) != 0) {
      if (errno == ENODEV) continue;  // removed
      return errno_status(errno, "DEV_INFO", name_);
    }
    space.device_bytes += device.total_bytes;
    space.unallocated += device.total_bytes - std::min(device.total_bytes, device.bytes_used);
  }
  return absl::OkStatus();
}

absl::StatusOr<Descriptor> KernelFilesystem::open_handle(FileHandle file, int flags) {
  if (file.generation == 0 && needs_generation_) {
    auto map = file_map(file, 0, 0);
    if (!map.ok()) return map.status();
    file.generation = map->inode.generation;
  }
  BtrfsHandle handle;
  handle.id.inode = file.inode;
  handle.id.root = file.root;
  handle.id.generation = static_cast<std::uint32_t>(file.generation);
  Descriptor fd(open_by_handle_at(root_.get(), reinterpret_cast<struct file_handle*>(&handle),
                                  flags | O_CLOEXEC));
  if (!fd) {
    return errno_status(errno, "open_by_handle_at",
                        fmt::format("inode {} of root {}", file.inode, file.root));
  }
  return fd;
}

absl::StatusOr<std::shared_ptr<File>> KernelFilesystem::open(const FileHandle& file) {
  if (auto cached = handles_.find(file)) return cached;
  auto fd = open_handle(file, O_RDONLY | O_NOATIME | O_NONBLOCK | O_NOCTTY);
  if (!fd.ok()) return fd.status();
  // What skep reads it asks for itself, ahead: the kernel's own guesses would bring in more.
  posix_fadvise(fd->get(), 0, 0, POSIX_FADV_RANDOM);
  FileHandle known = file;
  if (known.generation == 0) known.generation = generation_of_inode(fd->get());
  std::shared_ptr<File> opened = std::make_shared<KernelFile>(file, *std::move(fd));
  handles_.insert(known, opened);
  return opened;
}

absl::StatusOr<std::shared_ptr<TemporaryFile>> KernelFilesystem::create_temporary(ExtentKind kind) {
  Descriptor fd(openat(top_level_.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!fd) return errno_status(errno, "open(O_TMPFILE)", name_ + ", top-level subvolume");
  if (auto status = set_kind(fd.get(), kind); !status.ok()) return status;
  struct stat st {};
  if (fstat(fd.get(), &st) != 0) return errno_status(errno, "fstat", "temporary file");
  return std::shared_ptr<TemporaryFile>(
      std::make_shared<KernelTemporaryFile>(FileKey{kTopLevelRoot, st.st_ino}, std::move(fd)));
}

absl::StatusOr<std::vector<DedupeResult>> KernelFilesystem::dedupe(
    File& source, std::uint64_t offset, std::uint64_t length,
    std::span<const DedupeTarget> targets) {
  std::vector<OpenTarget> open_targets;
  open_targets.reserve(targets.size());
  for (const DedupeTarget& target : targets) {
    open_targets.push_back({fd_of(*target.file), target.offset});
  }
  return dedupe_range(fd_of(source),
                      fmt::format("inode {} of root {}", source.key().inode, source.key().root),
                      offset, length, open_targets);
}

absl::Status KernelFilesystem::write_back() {
  if (syncfs(root_.get()) != 0) return errno_status(errno, "syncfs", name_);
  return absl::OkStatus();
}

absl::StatusOr<std::uint64_t> KernelFilesystem::sync() {
  std::uint64_t transid = 0;
  if (ioctl(root_.get(), BTRFS_IOC_START_SYNC, &transid) != 0) {
    return errno_status(errno, "START_SYNC", name_);
  }
  if (ioctl(root_.get(), BTRFS_IOC_WAIT_SYNC, &transid) != 0) {
    // EINVAL: the transaction is neither committed nor under way. It was aborted, and the
    // filesystem is read-only from then on (btrfs_wait_for_commit).
    return errno_status(errno == EINVAL ? EROFS : errno, "WAIT_SYNC", name_);
  }
  return transid;
}

}  // namespace skep::btrfs
