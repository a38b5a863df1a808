// SPDX-License-Identifier: MIT
//
// File extent items of MemoryStore: where they go in and out, and stay tied to their extents.
#include <algorithm>
#include <iterator>
#include <utility>

#include "memory_store.h"

namespace skep::btrfs {
namespace {

// The part of an item that covers the file range [first, end).
FileExtent part_of(FileExtent extent, std::uint64_t first, std::uint64_t end) {
  extent.extent_offset += first - extent.file_offset;
  extent.file_offset = first;
  extent.length = end - first;
  return extent;
}

}  // namespace

void MemoryStore::insert(FileKey key, const FileExtent& extent) {
  MemoryItem item;
  item.extent = extent;
  item.leaf = next_leaf_++;
  attach(key, std::move(item));
}

void MemoryStore::attach(FileKey key, MemoryItem item) {
  const FileExtent& extent = item.extent;
  if (extent.type != FileExtentType::kInline) {
    extents_.at(extent.extent_address).users.insert({key, extent.file_offset});
    touched_.insert(extent.extent_address);
  }
  running_ = true;
  const std::uint64_t offset = extent.file_offset;
  find(key)->items.emplace(offset, std::move(item));
}

MemoryStore::Items::iterator MemoryStore::detach(FileKey key, Items::iterator item) {
  const FileExtent& extent = item->second.extent;
  if (extent.type != FileExtentType::kInline) {
    extents_.at(extent.extent_address).users.erase({key, extent.file_offset});
    touched_.insert(extent.extent_address);
  }
  running_ = true;
  return find(key)->items.erase(item);
}

// Block-aligned. What an item keeps outside the range is rewritten: it leaves a shared leaf.
void MemoryStore::drop_range(FileKey key, std::uint64_t first, std::uint64_t end) {
  Items& items = find(key)->items;
  auto item = items.upper_bound(first);
  if (item != items.begin()) --item;
  while (item != items.end() && item->first < end) {
    const FileExtent old = item->second.extent;
    const std::uint64_t old_end = old.file_offset + align_up(old.length);
    if (old_end <= first) {
      ++item;
      continue;
    }
    item = detach(key, item);
    if (old.type == FileExtentType::kInline) continue;
    if (old.file_offset < first) insert(key, part_of(old, old.file_offset, first));
    if (old_end > end) insert(key, part_of(old, end, old_end));
  }
}

std::vector<FileExtent> MemoryStore::parts_in(const MemoryInode& inode, std::uint64_t first,
                                              std::uint64_t end) const {
  std::vector<FileExtent> out;
  auto item = inode.items.upper_bound(first);
  if (item != inode.items.begin()) --item;
  for (; item != inode.items.end() && item->first < end; ++item) {
    const FileExtent& extent = item->second.extent;
    const std::uint64_t from = std::max(first, extent.file_offset);
    const std::uint64_t to = std::min(end, extent.file_offset + extent.length);
    if (from < to) out.push_back(part_of(extent, from, to));
  }
  return out;
}

const MemoryItem* MemoryStore::item_covering(const MemoryInode& inode, std::uint64_t offset) const {
  auto item = inode.items.upper_bound(offset);
  if (item == inode.items.begin()) return nullptr;
  --item;
  const FileExtent& extent = item->second.extent;
  return offset < extent.file_offset + extent.length ? &item->second : nullptr;
}

// The item whose extent a write at `offset` goes into: preallocated or nodatacow, and referred to
// from this very place only, as the kernel asks (btrfs_cross_ref_exist). Null: copy on write.
const MemoryItem* MemoryStore::item_to_overwrite(FileKey key, std::uint64_t offset) const {
  const MemoryInode& inode = *find(key);
  const MemoryItem* item = item_covering(inode, offset);
  if (item == nullptr || item->extent.type == FileExtentType::kInline) return nullptr;
  const FileExtent& extent = item->extent;
  if (extent.type != FileExtentType::kPrealloc && !(inode.inode.flags & kInodeNodatacow)) {
    return nullptr;
  }
  for (const ItemKey& user : extents_.at(extent.extent_address).users) {
    const FileExtent& other = item_at(user).extent;
    if (user.file != key ||
        other.file_offset - other.extent_offset != extent.file_offset - extent.extent_offset) {
      return nullptr;
    }
  }
  return item;
}

}  // namespace skep::btrfs
