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

MemoryStore::MemoryStore(const MemoryOptions& options)
    : options_(options), block_(options.block_size), end_(options.first_address) {
  subvolumes_[kTopLevelRoot].info.root = kTopLevelRoot;
}

std::uint64_t MemoryStore::add_subvolume() {
  const std::uint64_t root = next_root_++;
  subvolumes_[root].info.root = root;
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
  to.info = {copy, from.info.last_snapshot, read_only};
  to.next_inode = from.next_inode;
  for (const auto& [number, inode] : from.inodes) {
    // The kernel drops orphans from a new snapshot before anybody sees it.
    if (inode.inode.links == 0) continue;
    to.inodes[number].inode = inode.inode;
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
  const std::uint64_t number = subvolume.next_inode++;
  subvolume.inodes[number].inode = {0, flags, S_IFREG | 0644, links};
  running_ = true;
  return {root, number};
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
