// SPDX-License-Identifier: MIT
#include "skep/btrfs/paths.h"

#include <fmt/format.h>
#include <linux/btrfs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>

#include "skep/btrfs/status.h"

namespace skep::btrfs {
namespace {

// Paths of programs end at 4096 bytes, which are at most so many folders.
constexpr int kDeepestFolder = 2048;

std::string joined(const std::string& folder, const std::string& name) {
  return folder.empty() ? name : folder + '/' + name;
}

absl::Status nameless(FileKey file) {
  return absl::NotFoundError(
      fmt::format("inode {} of root {}: has no path", file.inode, file.root));
}

}  // namespace

absl::StatusOr<FileKey> file_key(int fd, const std::string& path) {
  struct stat st {};
  if (fstat(fd, &st) != 0) return errno_status(errno, "fstat", path);
  btrfs_ioctl_ino_lookup_args args{};
  args.objectid = kFirstFreeObjectid;  // asks for the tree alone
  if (ioctl(fd, BTRFS_IOC_INO_LOOKUP, &args) != 0) return errno_status(errno, "INO_LOOKUP", path);
  return FileKey{args.treeid, st.st_ino};
}

absl::Status Paths::load() {
  if (!subvolumes_.empty()) return absl::OkStatus();
  auto found = fs_.subvolumes();
  if (!found.ok()) return found.status();
  for (auto& one : *found) subvolumes_[one.root] = std::move(one);
  return absl::OkStatus();
}

absl::StatusOr<std::string> Paths::of_subvolume(std::uint64_t root, int depth) {
  if (root == kTopLevelRoot) return std::string();
  const auto found = subvolumes_.find(root);
  if (found == subvolumes_.end() || found->second.parent == 0) {
    return nameless({root, kFirstFreeObjectid});
  }
  const Subvolume& subvolume = found->second;
  auto folder = of_folder({subvolume.parent, subvolume.place.folder}, depth + 1);
  if (!folder.ok()) return folder;
  return joined(*folder, subvolume.place.name);
}

absl::StatusOr<std::string> Paths::of_folder(FileKey folder, int depth) {
  if (const auto known = folders_.find(folder); known != folders_.end()) return known->second;
  if (depth > kDeepestFolder) return nameless(folder);
  absl::StatusOr<std::string> path;
  if (folder.inode == kFirstFreeObjectid) {
    path = of_subvolume(folder.root, depth);
  } else {
    auto found = fs_.names(folder);
    if (!found.ok()) return found.status();
    if (found->names.empty()) return nameless(folder);
    path = of_folder({folder.root, found->names.front().folder}, depth + 1);
    if (path.ok()) path = joined(*path, found->names.front().name);
  }
  if (path.ok()) folders_[folder] = *path;
  return path;
}

absl::StatusOr<std::vector<std::string>> Paths::of(FileKey file) {
  if (auto status = load(); !status.ok()) return status;
  auto found = fs_.names(file);
  if (!found.ok()) return found.status();
  std::vector<std::string> out;
  for (const FileName& name : found->names) {
    auto folder = of_folder({file.root, name.folder}, 0);
    if (!folder.ok()) return folder.status();
    out.push_back(joined(*folder, name.name));
  }
  if (out.empty()) return nameless(file);
  return out;
}

}  // namespace skep::btrfs
