// SPDX-License-Identifier: MIT
//
// Contents of MemoryStore's files: reading, writing, cloning, dirty blocks.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <limits>
#include <utility>

#include "memory_store.h"
#include "skep/btrfs/status.h"

namespace skep::btrfs {
namespace {

void copy(std::span<const std::byte> from, std::span<std::byte> to) {
  if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
}

absl::Status no_file(std::string_view call) { return errno_status(ENOENT, call, "file"); }

}  // namespace

// What lies behind the end of the file is zero for readers, whatever the last block holds.
std::size_t MemoryStore::read(FileKey key, std::uint64_t offset, std::span<std::byte> out) const {
  std::fill(out.begin(), out.end(), std::byte{0});
  const MemoryInode& inode = *find(key);
  if (offset >= inode.inode.size) return 0;
  const std::uint64_t end = std::min<std::uint64_t>(inode.inode.size, offset + out.size());
  for (const FileExtent& part : parts_in(inode, offset, end)) {
    const auto to = out.subspan(part.file_offset - offset, part.length);
    if (part.type == FileExtentType::kInline) {
      copy(std::span(item_at({key, 0}).inline_data).subspan(part.extent_offset, part.length), to);
    } else if (part.type == FileExtentType::kRegular) {
      const MemoryExtent& extent = extents_.at(part.extent_address);
      copy(std::span(extent.content).subspan(part.extent_offset, part.length), to);
    }
  }
  for (const auto& [at, block] : inode.dirty) {
    const std::uint64_t from = std::max(offset, at), to = std::min(end, at + block_);
    if (from >= to) continue;
    copy(std::span(block).subspan(from - at, to - from), out.subspan(from - offset, to - from));
  }
  return end - offset;
}

absl::Status MemoryStore::write(FileKey key, std::uint64_t offset, std::span<const std::byte> data,
                                std::uint8_t compression) {
  MemoryInode* inode = find(key);
  if (inode == nullptr) return no_file("pwrite");
  if (data.empty()) return absl::OkStatus();
  if (auto status = grow_from(key, offset); !status.ok()) return status;
  const std::uint64_t end = offset + data.size(), first = align_down(offset);
  Bytes blocks(align_up(end) - first);
  read(key, first, blocks);
  copy(data, std::span(blocks).subspan(offset - first));
  auto status = write_blocks(key, first, blocks, compression);
  if (status.ok()) inode->inode.size = std::max(inode->inode.size, end);
  return status;
}

void MemoryStore::write_inline(FileKey key, std::span<const std::byte> data) {
  MemoryItem item;
  item.extent.type = FileExtentType::kInline;
  item.extent.length = data.size();
  item.leaf = next_leaf_++;
  item.inline_data.assign(data.begin(), data.end());
  drop_range(key, 0, block_);
  if (!data.empty()) attach(key, std::move(item));
}

absl::Status MemoryStore::write_blocks(FileKey key, std::uint64_t first,
                                       std::span<const std::byte> blocks,
                                       std::uint8_t compression) {
  const std::uint64_t end = first + blocks.size();
  for (std::uint64_t at = first, stop = 0; at < end; at = stop) {
    const MemoryItem* item = item_to_overwrite(key, at);
    stop = at + block_;
    while (stop < end && item_to_overwrite(key, stop) == item) stop += block_;
    const auto part = blocks.subspan(at - first, stop - at);
    if (item != nullptr) {
      overwrite(key, at, part, *item);
    } else if (auto status = write_new(key, at, part, compression); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

absl::Status MemoryStore::write_new(FileKey key, std::uint64_t first,
                                    std::span<const std::byte> blocks, std::uint8_t compression) {
  const bool checksummed = !(find(key)->inode.flags & kInodeNodatasum);
  if (!checksummed) compression = 0;
  std::uint64_t longest = options_.max_extent_length;
  if (compression != 0) longest = std::min(longest, kMaxCompressedContent);
  for (std::size_t done = 0; done < blocks.size();) {
    const auto part = blocks.subspan(done, std::min(longest, blocks.size() - done));
    auto address = allocate({part.begin(), part.end()}, compression, checksummed);
    if (!address.ok()) return address.status();
    const MemoryExtent& stored = extents_.at(*address);
    FileExtent extent;
    extent.file_offset = first + done;
    extent.length = part.size();
    extent.extent_address = *address;
    extent.extent_length = stored.length;
    extent.compression = stored.compression;
    extent.content_length = part.size();
    drop_range(key, extent.file_offset, extent.file_offset + extent.length);
    insert(key, extent);
    done += part.size();
  }
  return absl::OkStatus();
}

void MemoryStore::overwrite(FileKey key, std::uint64_t first, std::span<const std::byte> blocks,
                            const MemoryItem& item) {
  FileExtent extent = item.extent;
  extent.extent_offset += first - extent.file_offset;
  extent.file_offset = first;
  extent.length = blocks.size();
  MemoryExtent& stored = extents_.at(extent.extent_address);
  copy(blocks, std::span(stored.content).subspan(extent.extent_offset));
  if (!(find(key)->inode.flags & kInodeNodatasum)) {
    const std::size_t from = extent.extent_offset / block_;
    for (std::size_t i = from; i < from + blocks.size() / block_; ++i) {
      stored.csums[i] = csum_of(stored, i);
    }
  }
  running_ = true;
  if (extent.type == FileExtentType::kRegular) return;  // nothing but the bytes changes
  extent.type = FileExtentType::kRegular;
  drop_range(key, first, first + blocks.size());
  insert(key, extent);
}

// Writes zeroes over the stored part of [first, end), inside one block.
absl::Status MemoryStore::zero(FileKey key, std::uint64_t first, std::uint64_t end) {
  MemoryInode& inode = *find(key);
  const std::uint64_t at = align_down(first);
  if (auto dirty = inode.dirty.find(at); dirty != inode.dirty.end()) {
    std::fill(dirty->second.begin() + static_cast<std::ptrdiff_t>(first - at),
              dirty->second.begin() + static_cast<std::ptrdiff_t>(end - at), std::byte{0});
    return absl::OkStatus();
  }
  const MemoryItem* item = item_covering(inode, at);
  if (item == nullptr || item->extent.type == FileExtentType::kPrealloc) return absl::OkStatus();
  Bytes block(block_);
  read(key, at, block);
  std::fill(block.begin() + static_cast<std::ptrdiff_t>(first - at),
            block.begin() + static_cast<std::ptrdiff_t>(end - at), std::byte{0});
  return write_blocks(key, at, block, 0);
}

// Before a file gets bytes at `offset`: what lies behind its end in its last block becomes zero on
// disk too when the end moves (kernel: btrfs_cont_expand), and inline data moves to an extent.
absl::Status MemoryStore::grow_from(FileKey key, std::uint64_t offset) {
  const MemoryInode& inode = *find(key);
  if (!inode.items.empty() && inode.items.begin()->second.extent.type == FileExtentType::kInline) {
    return store_inline_outside(key);
  }
  const std::uint64_t size = inode.inode.size;
  if (offset <= size || size % block_ == 0) return absl::OkStatus();
  return zero(key, size, align_up(size));
}

absl::Status MemoryStore::store_inline_outside(FileKey key) {
  Bytes block(block_);
  read(key, 0, block);
  return write_blocks(key, 0, block, 0);
}

absl::Status MemoryStore::write_dirty(FileKey key, std::uint64_t offset,
                                      std::span<const std::byte> data) {
  MemoryInode& inode = *find(key);
  if (data.empty()) return absl::OkStatus();
  if (auto status = grow_from(key, offset); !status.ok()) return status;
  const std::uint64_t end = offset + data.size();
  std::uint64_t wanted = 0;
  for (std::uint64_t at = align_down(offset); at < end; at += block_) {
    if (!inode.dirty.contains(at)) wanted += block_;
  }
  // The kernel reserves space when a page gets dirty, so that writing back does not run out.
  if (wanted > options_.capacity - std::min(options_.capacity, used_ + reserved_)) {
    return errno_status(ENOSPC, "pwrite", "temporary file");
  }
  reserved_ += wanted;
  for (std::uint64_t at = align_down(offset); at < end; at += block_) {
    const std::uint64_t from = std::max(offset, at), to = std::min(end, at + block_);
    Bytes block(block_);
    read(key, at, block);
    copy(data.subspan(from - offset, to - from), std::span(block).subspan(from - at));
    inode.dirty[at] = std::move(block);
  }
  inode.inode.size = std::max(inode.inode.size, end);
  return absl::OkStatus();
}

void MemoryStore::flush(FileKey key) {
  std::map<std::uint64_t, Bytes> dirty = std::exchange(find(key)->dirty, {});
  const std::uint8_t compression = find(key)->compression;
  reserved_ -= dirty.size() * block_;
  for (auto block = dirty.begin(); block != dirty.end();) {
    const std::uint64_t first = block->first;
    Bytes run;
    for (; block != dirty.end() && block->first == first + run.size(); ++block) {
      run.insert(run.end(), block->second.begin(), block->second.end());
    }
    // Cannot fail: the space was reserved just before, block for block.
    write_blocks(key, first, run, compression).IgnoreError();
  }
}

absl::Status MemoryStore::punch(FileKey key, std::uint64_t offset, std::uint64_t length) {
  if (find(key) == nullptr) return no_file("fallocate");
  if (auto status = grow_from(key, 0); !status.ok()) return status;
  const std::uint64_t end = offset + length;
  const std::uint64_t first_whole = align_up(offset), last_whole = align_down(end);
  if (first_whole > last_whole) return zero(key, offset, end);  // inside one block
  if (offset < first_whole) {
    if (auto status = zero(key, offset, first_whole); !status.ok()) return status;
  }
  drop_range(key, first_whole, last_whole);
  return last_whole < end ? zero(key, last_whole, end) : absl::OkStatus();
}

absl::Status MemoryStore::fallocate(FileKey key, std::uint64_t offset, std::uint64_t length) {
  MemoryInode* inode = find(key);
  if (inode == nullptr) return no_file("fallocate");
  if (auto status = grow_from(key, offset + length); !status.ok()) return status;
  const std::uint64_t end = align_up(offset + length);
  for (std::uint64_t at = align_down(offset), stop = 0; at < end; at = stop) {
    stop = at + block_;
    if (item_covering(*inode, at) != nullptr) continue;
    while (stop < end && stop - at < options_.max_extent_length &&
           item_covering(*inode, stop) == nullptr) {
      stop += block_;
    }
    auto address = allocate(Bytes(stop - at), 0, false);
    if (!address.ok()) return address.status();
    FileExtent extent;
    extent.file_offset = at;
    extent.length = extent.extent_length = extent.content_length = stop - at;
    extent.extent_address = *address;
    extent.type = FileExtentType::kPrealloc;
    insert(key, extent);
  }
  inode->inode.size = std::max(inode->inode.size, offset + length);
  return absl::OkStatus();
}

absl::Status MemoryStore::truncate(FileKey key, std::uint64_t size) {
  MemoryInode* inode = find(key);
  if (inode == nullptr) return no_file("ftruncate");
  if (size > inode->inode.size) {
    if (auto status = grow_from(key, size); !status.ok()) return status;
  } else if (!inode->items.empty() &&
             inode->items.begin()->second.extent.type == FileExtentType::kInline) {
    Bytes kept(size);
    read(key, 0, kept);
    write_inline(key, kept);
  } else {
    const auto dropped = inode->dirty.lower_bound(align_up(size));
    reserved_ -= block_ * static_cast<std::uint64_t>(std::distance(dropped, inode->dirty.end()));
    inode->dirty.erase(dropped, inode->dirty.end());
    // A page in memory loses what lies behind the end, a block on disk does not.
    if (inode->dirty.contains(align_down(size))) {
      if (auto status = zero(key, size, align_down(size) + block_); !status.ok()) return status;
    }
    drop_range(key, align_up(size), std::numeric_limits<std::uint64_t>::max());
  }
  inode->inode.size = size;
  running_ = true;
  return absl::OkStatus();
}

absl::Status MemoryStore::reflink(FileKey source, std::uint64_t source_offset, std::uint64_t length,
                                  FileKey destination, std::uint64_t destination_offset) {
  MemoryInode* to = find(destination);
  const MemoryInode* from = find(source);
  if (from == nullptr || to == nullptr) return no_file("FICLONERANGE");
  const std::uint64_t source_end = source_offset + length;
  const std::uint64_t end = destination_offset + length;
  const bool aligned = source_offset % block_ == 0 && destination_offset % block_ == 0;
  const bool at_end = source_end == from->inode.size && end >= to->inode.size;
  const bool ends_well = length % block_ == 0 || at_end;
  const bool overlaps = source == destination && source_offset < align_up(end) &&
                        destination_offset < align_up(source_end);
  if (!aligned || !ends_well || overlaps || source_end > from->inode.size ||
      ((from->inode.flags ^ to->inode.flags) & kInodeNodatasum)) {
    return errno_status(EINVAL, "FICLONERANGE", "file");
  }
  if (auto status = grow_from(destination, destination_offset); !status.ok()) return status;
  auto status = clone(source, source_offset, align_up(length), destination, destination_offset);
  if (status.ok()) to->inode.size = std::max(to->inode.size, end);
  return status;
}

absl::Status MemoryStore::clone(FileKey source, std::uint64_t source_offset, std::uint64_t length,
                                FileKey destination, std::uint64_t destination_offset) {
  const auto parts = parts_in(*find(source), source_offset, source_offset + length);
  if (!parts.empty() && parts.front().type == FileExtentType::kInline) {
    return clone_inline(source, destination, destination_offset);
  }
  drop_range(destination, destination_offset, destination_offset + length);
  for (FileExtent part : parts) {
    part.file_offset += destination_offset - source_offset;
    insert(destination, part);
  }
  running_ = true;
  return absl::OkStatus();
}

// Inline data cannot be referred to: it is copied, as an item or, further on, as a block.
absl::Status MemoryStore::clone_inline(FileKey source, FileKey destination,
                                       std::uint64_t destination_offset) {
  Bytes data = find(source)->items.at(0).inline_data;
  if (destination_offset == 0 && find(destination)->inode.size <= data.size()) {
    write_inline(destination, data);
    return absl::OkStatus();
  }
  data.resize(block_);
  return write_blocks(destination, destination_offset, data, 0);
}

}  // namespace skep::btrfs
