// SPDX-License-Identifier: MIT
#include "skep/dedupe/top_folders.h"

#include <algorithm>
#include <vector>

namespace skep::dedupe {
namespace {

// Paths of programs end at 4096 bytes; a loop cannot be, but is not waited for.
constexpr int kDepth = 4'096;

}  // namespace

// From the folder up to the top of its subvolume: "a/b", "" for the top.
std::optional<std::string> TopFolders::folder_path(btrfs::FileKey folder) {
  std::string out;
  for (int i = 0; folder.inode != btrfs::kFirstFreeObjectid; ++i) {
    const auto found = fs_.names(folder);
    if (!found.ok() || found->names.empty() || i == kDepth) return std::nullopt;
    out.insert(0, '/' + found->names.front().name);
    folder.inode = found->names.front().folder;
  }
  return out;
}

std::optional<std::string> TopFolders::subvolume_path(std::uint64_t root) {
  if (const auto known = subvolumes_.find(root); known != subvolumes_.end()) return known->second;
  std::optional<std::string>& out = subvolumes_[root];
  const auto all = fs_.subvolumes();
  if (!all.ok()) return std::nullopt;
  std::string path;
  for (std::uint64_t at = root; at != btrfs::kTopLevelRoot;) {
    const auto it =
        std::find_if(all->begin(), all->end(), [&](const auto& s) { return s.root == at; });
    if (it == all->end() || it->parent == 0 || path.size() > kDepth) return std::nullopt;
    const auto folder = folder_path({it->parent, it->place.folder});
    if (!folder) return std::nullopt;
    path.insert(0, *folder + '/' + it->place.name);
    at = it->parent;
  }
  out = path;
  return path;
}

// The folder of the top that `file` is in; "" for none.
std::optional<std::string> TopFolders::top_name(btrfs::FileKey file) {
  std::vector<btrfs::FileKey> way;
  std::string name;
  for (int i = 0;; ++i) {
    const auto known = folders_.find(file);
    if (known != folders_.end()) {
      name = known->second;
      break;
    }
    const auto found = fs_.names(file);
    if (!found.ok() || found->names.empty() || i == kDepth) return std::nullopt;
    const bool is_file = way.empty();
    const btrfs::FileName& up = found->names.front();
    way.push_back(file);
    if (up.folder == btrfs::kFirstFreeObjectid) {
      if (!is_file) name = up.name;
      break;
    }
    file.inode = up.folder;
  }
  if (folders_.size() + way.size() > kRemembered) folders_.clear();
  // The file itself is not asked for again once another was.
  for (std::size_t i = 1; i < way.size(); ++i) folders_[way[i]] = name;
  return name;
}

std::optional<TopFolders::Place> TopFolders::of(btrfs::FileKey file) {
  if (file == last_file_) return last_place_;
  last_file_ = file;
  last_place_.reset();
  const auto subvolume = subvolume_path(file.root);
  if (!subvolume) return std::nullopt;
  const auto name = top_name(file);
  if (!name) return std::nullopt;
  last_place_ = Place{subvolume->empty() ? "/" : *subvolume,
                      name->empty() ? *subvolume + '/' : *subvolume + '/' + *name};
  return last_place_;
}

}  // namespace skep::dedupe
