// SPDX-License-Identifier: MIT
//
// Subvolumes and inodes of MemoryStore.
#include "memory_store.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "skep/btrfs/status.h"

namespace skep::btrfs {
namespace {

void place_at_top(Subvolume& subvolume) {
  subvolume.parent = kTopLevelRoot;
  subvolume.place = {kFirstFreeObjectid, fmt::format("subvolume-{}", subvolume.root)};
}

}  // namespace

MemoryStore::MemoryStore(const MemoryOptions& options)
    : options_(options), block_(options.block_size), end_(options.first_address) {
  subvolumes_[kTopLevelRoot].info.root = kTopLevelRoot;
}

std::uint64_t MemoryStore::add_subvolume() {
  const std::uint64_t root = next_root_++;
  subvolumes_[root].info.root = root;
  place_at_top(subvolumes_[root].info);
  running_ = true;
  return root;
}

std::uint64_t MemoryStore::snapshot(std::uint64_t root, bool read_only) {
  flush_all();
  running_ = true;
  const std::uint64_t copy = next_root_++;
  MemorySubvolume& from = subvolumes_.at(root);
  MemorySubvolume& to = subvolumes_[copy];
  from.info.last_snapshot = generation();
  to.info.root = copy;
  to.info.last_snapshot = from.info.last_snapshot;
  to.info.read_only = read_only;
  place_at_top(to.info);
  to.next_inode = from.next_inode;
  to.folders = from.folders;
  for (const auto& [number, inode] : from.inodes) {
    // The kernel drops orphans from a new snapshot before anybody sees it.
    if (inode.inode.links == 0) continue;
    to.inodes[number].inode = inode.inode;
    to.inodes[number].names = inode.names;
    for (const auto& [offset, item] : inode.items) {
      MemoryItem shared = item;
      shared.shared_leaf = true;
      attach({copy, number}, std::move(shared));
    }
  }
  commit();
  return copy;
}

absl::Status MemoryStore::remove_subvolume(std::uint64_t root) {
  const auto subvolume = subvolumes_.find(root);
  if (subvolume == subvolumes_.end() || root == kTopLevelRoot) {
    return errno_status(ENOENT, "SNAP_DESTROY", fmt::format("root {}", root));
  }
  auto& inodes = subvolume->second.inodes;
  for (const auto& [number, inode] : inodes) {
    if (inode.handles == 0) continue;
    return absl::FailedPreconditionError(fmt::format("root {}: inode {} is open", root, number));
  }
  while (!inodes.empty()) destroy({root, inodes.begin()->first});
  subvolumes_.erase(subvolume);
  return absl::OkStatus();
}

std::vector<Subvolume> MemoryStore::subvolumes() const {
  std::vector<Subvolume> out;
  for (const auto& [root, subvolume] : subvolumes_) out.push_back(subvolume.info);
  return out;
}

FileKey MemoryStore::add_inode(std::uint64_t root, std::uint64_t flags, std::uint32_t links) {
  MemorySubvolume& subvolume = subvolumes_.at(root);
  const FileKey key{root, subvolume.next_inode++};
  add_inode_at(key, flags, links);
  return key;
}

void MemoryStore::add_inode_at(FileKey key, std::uint64_t flags, std::uint32_t links) {
  running_ = true;
  MemoryInode& inode = subvolumes_.at(key.root).inodes[key.inode];
  inode.inode = {0, flags, S_IFREG | 0644, links, generation()};
  if (links != 0) inode.names.push_back({kFirstFreeObjectid, fmt::format("file-{}", key.inode)});
}

MemoryInode* MemoryStore::find(FileKey key) {
  return const_cast<MemoryInode*>(std::as_const(*this).find(key));
}

const MemoryInode* MemoryStore::find(FileKey key) const {
  const auto subvolume = subvolumes_.find(key.root);
  if (subvolume == subvolumes_.end()) return nullptr;
  const auto inode = subvolume->second.inodes.find(key.inode);
  return inode == subvolume->second.inodes.end() ? nullptr : &inode->second;
}

std::vector<FileKey> MemoryStore::files() const {
  std::vector<FileKey> out;
  for (const auto& [root, subvolume] : subvolumes_) {
    for (const auto& [number, inode] : subvolume.inodes) {
      if (inode.inode.links > 0) out.push_back({root, number});
    }
  }
  return out;
}

std::optional<NamedInode> MemoryStore::names(FileKey key) const {
  if (const MemoryInode* inode = find(key)) return NamedInode{inode->inode, inode->names};
  const auto subvolume = subvolumes_.find(key.root);
  if (subvolume == subvolumes_.end()) return std::nullopt;
  NamedInode out;
  out.inode.mode = S_IFDIR | 0755;
  out.inode.links = 1;
  if (key.inode == kFirstFreeObjectid) return out;
  const auto folder = subvolume->second.folders.find(key.inode);
  if (folder == subvolume->second.folders.end()) return std::nullopt;
  out.names.push_back(folder->second);
  return out;
}

std::uint64_t MemoryStore::create_folder(std::uint64_t root, const FileName& name) {
  MemorySubvolume& subvolume = subvolumes_.at(root);
  subvolume.folders[subvolume.next_inode] = name;
  running_ = true;
  return subvolume.next_inode++;
}

absl::Status MemoryStore::rename(FileKey key, const FileName& name) {
  running_ = true;
  if (MemoryInode* inode = find(key)) {
    inode->names = {name};
    inode->inode.links = 1;
    return absl::OkStatus();
  }
  const auto subvolume = subvolumes_.find(key.root);
  if (subvolume == subvolumes_.end() || !subvolume->second.folders.contains(key.inode)) {
    return errno_status(ENOENT, "rename", "file");
  }
  subvolume->second.folders[key.inode] = name;
  return absl::OkStatus();
}

absl::Status MemoryStore::link(FileKey key, const FileName& name) {
  MemoryInode* inode = find(key);
  if (inode == nullptr) return errno_status(ENOENT, "link", "file");
  inode->names.push_back(name);
  ++inode->inode.links;
  running_ = true;
  return absl::OkStatus();
}

absl::Status MemoryStore::move_subvolume(std::uint64_t root, std::uint64_t parent,
                                         const FileName& place) {
  if (!has_subvolume(root) || !has_subvolume(parent) || root == kTopLevelRoot) {
    return errno_status(ENOENT, "rename", fmt::format("root {}", root));
  }
  subvolumes_.at(root).info.parent = parent;
  subvolumes_.at(root).info.place = place;
  running_ = true;
  return absl::OkStatus();
}

void MemoryStore::for_each_item(std::uint64_t root, ItemPlace first, ItemPlace last,
                                Filesystem::FileExtentVisitor visit) const {
  const auto subvolume = subvolumes_.find(root);
  if (subvolume == subvolumes_.end()) return;
  const auto& inodes = subvolume->second.inodes;
  for (auto inode = inodes.lower_bound(first.inode); inode != inodes.end(); ++inode) {
    for (const auto& [offset, item] : inode->second.items) {
      const ItemPlace place{inode->first, offset};
      if (place < first) continue;
      if (place > last) return;
      visit(inode->first, item.extent);
    }
  }
}

absl::Status MemoryStore::unlink(FileKey key) {
  MemoryInode* inode = find(key);
  if (inode == nullptr || inode->inode.links == 0) return errno_status(ENOENT, "unlink", "file");
  inode->inode.links = 0;
  inode->names.clear();
  running_ = true;
  if (inode->handles == 0) destroy(key);
  return absl::OkStatus();
}

void MemoryStore::close(FileKey key) {
  MemoryInode* inode = find(key);
  if (--inode->handles == 0 && inode->inode.links == 0) destroy(key);
}

void MemoryStore::destroy(FileKey key) {
  MemoryInode& inode = *find(key);
  while (!inode.items.empty()) detach(key, inode.items.begin());
  reserved_ -= inode.dirty.size() * block_;
  subvolumes_.at(key.root).inodes.erase(key.inode);
  running_ = true;
}

absl::Status MemoryStore::set_flags(FileKey key, std::uint64_t flags) {
  MemoryInode* inode = find(key);
  if (inode == nullptr) return errno_status(ENOENT, "FS_IOC_SETFLAGS", "file");
  inode->inode.flags = flags;
  running_ = true;
  return absl::OkStatus();
}

void MemoryStore::flush_all() {
  for (const auto& [root, subvolume] : subvolumes_) {
    for (const auto& [number, inode] : subvolume.inodes) flush({root, number});
  }
}

// Metadata is a guess that moves in the right direction: items of subvolumes and extents in half
// full leaves. An item of a shared leaf takes nothing until it is rewritten.
SpaceInfo MemoryStore::space() const {
  constexpr std::uint64_t kItemBytes = 100, kNodeSize = 16384;
  std::uint64_t items = extents_.size();
  for (const auto& [root, subvolume] : subvolumes_) {
    for (const auto& [number, inode] : subvolume.inodes) {
      for (const auto& [offset, item] : inode.items) items += item.shared_leaf ? 0 : 1;
    }
  }
  SpaceInfo out;
  out.data.total = options_.capacity;
  out.data.used = used_;
  out.metadata.used = (subvolumes_.size() + items * kItemBytes * 2 / kNodeSize) * kNodeSize;
  out.metadata.total = out.metadata.used + (256ULL << 20);
  return out;
}

}  // namespace skep::btrfs
