// SPDX-License-Identifier: MIT
#include "skep/btrfs/open_subvolume.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>

#include "inode_names.h"
#include "skep/btrfs/status.h"
#include "skep/btrfs/tree_search.h"

namespace skep::btrfs {
namespace {

// The kernel bounds paths, not how deep folders lie; this ends a walk up in damaged metadata.
constexpr int kMostFolders = 10000;
// Each spares a look-up of 15 us for each folder on the way: with 100 bytes each, a few MiB.
constexpr std::size_t kMostWays = 20000;

absl::StatusOr<Descriptor> open_folder(const std::string& path) {
  Descriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return errno_status(errno, "open", path);
  struct statfs vfs {};
  if (fstatfs(fd.get(), &vfs) != 0) return errno_status(errno, "statfs", path);
  if (static_cast<unsigned long>(vfs.f_type) != BTRFS_SUPER_MAGIC) {
    return errno_status(ENOTTY, "statfs", path);
  }
  return fd;
}

// Empty for a folder inside a subvolume.
absl::StatusOr<std::optional<std::uint64_t>> root_of_top(int fd, const std::string& path) {
  struct stat st {};
  if (fstat(fd, &st) != 0) return errno_status(errno, "fstat", path);
  if (st.st_ino != kFirstFreeObjectid) return std::nullopt;
  btrfs_ioctl_ino_lookup_args args{};
  args.objectid = kFirstFreeObjectid;
  if (ioctl(fd, BTRFS_IOC_INO_LOOKUP, &args) != 0) return errno_status(errno, "INO_LOOKUP", path);
  return args.treeid;
}

}  // namespace

absl::StatusOr<std::optional<std::uint64_t>> subvolume_at(const std::string& path) {
  auto folder = open_folder(path);
  if (!folder.ok()) return folder.status();
  return root_of_top(folder->get(), path);
}

absl::StatusOr<OpenSubvolume> OpenSubvolume::open(const std::string& path) {
  auto folder = open_folder(path);
  if (!folder.ok()) return folder.status();
  const auto root = root_of_top(folder->get(), path);
  if (!root.ok()) return root.status();
  if (!*root) return absl::InvalidArgumentError(path + ": not the top folder of a subvolume");
  OpenSubvolume out(path, *std::move(folder));
  out.root_ = **root;
  btrfs_ioctl_fs_info_args args{};
  if (ioctl(out.folder_.get(), BTRFS_IOC_FS_INFO, &args) != 0) {
    return errno_status(errno, "FS_INFO", path);
  }
  std::copy_n(args.fsid, out.filesystem_.size(), out.filesystem_.begin());
  out.node_size_ = args.nodesize;
  return out;
}

absl::Status OpenSubvolume::sync() {
  if (ioctl(folder_.get(), BTRFS_IOC_SYNC) == 0) return absl::OkStatus();
  return errno_status(errno, "SYNC", name_);
}

absl::StatusOr<std::uint64_t> OpenSubvolume::generation() {
  TreeSearch search(folder_.get(), kLookUpBytes, node_size_);
  std::optional<std::uint64_t> found;
  auto status = search.for_each(BTRFS_ROOT_TREE_OBJECTID, {root_, BTRFS_ROOT_ITEM_KEY, 0},
                                {root_, BTRFS_ROOT_ITEM_KEY, kLastOffset}, [&](const Item& item) {
                                  const auto generation = parse_root_generation(item);
                                  if (generation) found = std::max(found.value_or(0), *generation);
                                  return true;
                                });
  if (!status.ok()) return status;
  if (!found) return absl::NotFoundError(fmt::format("{}: no root item {}", name_, root_));
  return *found;
}

absl::Status OpenSubvolume::changes(std::uint64_t since, ChangeVisitor visit) {
  TreeSearch search(folder_.get(), kWalkBytes, node_size_, since);
  absl::Status failed;
  std::uint64_t inode = 0;
  absl::StatusOr<std::optional<std::string>> path = std::nullopt;
  auto status = search.for_each(root_, {kFirstFreeObjectid, BTRFS_EXTENT_DATA_KEY, 0},
                                {kLastFreeObjectid, BTRFS_EXTENT_DATA_KEY, kLastOffset},
                                [&](const Item& item) {
                                  const auto extent = parse_file_extent(item);
                                  if (!extent || extent->generation < since) return true;
                                  if (inode != item.key.objectid) {
                                    inode = item.key.objectid;
                                    path = path_of(inode);
                                  }
                                  if (!path.ok()) failed = path.status();
                                  if (!path.ok() || !*path) return path.ok();
                                  return visit(inode, **path, *extent);
                                });
  return failed.ok() ? status : failed;
}

absl::StatusOr<std::optional<std::string>> OpenSubvolume::path_of(std::uint64_t inode) {
  const auto found = inode_names(folder_.get(), node_size_, {root_, inode});
  if (absl::IsNotFound(found.status())) return std::nullopt;
  if (!found.ok()) return found.status();
  if (found->names.empty()) return std::nullopt;
  const FileName& name = found->names.front();
  auto path = way_to(name.folder);
  if (path.ok() && *path) **path += name.name;
  return path;
}

// From the top folder to this one, with a slash behind each. Empty for what has no name by now.
absl::StatusOr<std::optional<std::string>> OpenSubvolume::way_to(std::uint64_t folder) {
  if (const auto known = ways_.find(folder); known != ways_.end()) return known->second;
  std::string way;
  int folders = 0;
  for (std::uint64_t at = folder; at != kFirstFreeObjectid;) {
    const auto found = inode_names(folder_.get(), node_size_, {root_, at});
    if (absl::IsNotFound(found.status())) return std::nullopt;
    if (!found.ok()) return found.status();
    if (found->names.empty()) return std::nullopt;
    if (++folders > kMostFolders) {
      return absl::DataLossError(
          fmt::format("{}: inode {}: in over {} folders", name_, folder, kMostFolders));
    }
    way.insert(0, found->names.front().name + '/');
    at = found->names.front().folder;
  }
  if (ways_.size() == kMostWays) ways_.clear();
  ways_[folder] = way;
  return way;
}

}  // namespace skep::btrfs
