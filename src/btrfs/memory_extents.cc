// SPDX-License-Identifier: MIT
//
// Data extents of MemoryStore: addresses, checksums, references, and the commit.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <tuple>
#include <utility>

#include "memory_store.h"
#include "skep/btrfs/crc32c.h"
#include "skep/btrfs/status.h"

namespace skep::btrfs {
namespace {
// The kernel moves references out of the extent item when it would grow past a sixteenth of a
// leaf. A lower limit makes tests meet extents whose references are not all inline.
constexpr std::size_t kMaxInlineRefs = 4;
}  // namespace

absl::StatusOr<std::uint64_t> MemoryStore::allocate(Bytes content, std::uint8_t compression,
                                                    bool checksummed) {
  MemoryExtent extent;
  extent.length = content.size();
  // What one block holds cannot get smaller; the kernel then stores it as it is.
  if (compression != 0 && content.size() > block_) {
    extent.compression = compression;
    extent.length = align_up(content.size() / 2);
  }
  if (extent.length > options_.capacity - std::min(options_.capacity, used_ + reserved_)) {
    return errno_status(ENOSPC, "allocate", fmt::format("{} bytes", extent.length));
  }
  running_ = true;
  extent.generation = generation();
  extent.content = std::move(content);
  extent.csums.resize(extent.length / block_);
  for (std::size_t i = 0; checksummed && i < extent.csums.size(); ++i) {
    extent.csums[i] = csum_of(extent, i);
  }
  used_ += extent.length;
  const std::uint64_t address = take_address(extent.length);
  extents_.emplace(address, std::move(extent));
  touched_.insert(address);
  return address;
}

std::uint64_t MemoryStore::take_address(std::uint64_t length) {
  // The lowest gap that fits: addresses come back soon, as a deduplicator must bear.
  for (auto gap = gaps_.begin(); gap != gaps_.end(); ++gap) {
    if (gap->second < length) continue;
    const auto [address, gap_length] = *gap;
    gaps_.erase(gap);
    if (gap_length > length) gaps_.emplace(address + length, gap_length - length);
    return address;
  }
  const std::uint64_t address = end_;
  end_ += length;
  return address;
}

void MemoryStore::give_address_back(std::uint64_t address, std::uint64_t length) {
  auto after = gaps_.lower_bound(address);
  if (after != gaps_.end() && address + length == after->first) {
    length += after->second;
    after = gaps_.erase(after);
  }
  if (after != gaps_.begin()) {
    auto before = std::prev(after);
    if (before->first + before->second == address) {
      before->second += length;
      return;
    }
  }
  gaps_.emplace(address, length);
}

void MemoryStore::free_extent(std::uint64_t address) {
  const auto extent = extents_.find(address);
  used_ -= extent->second.length;
  give_address_back(address, extent->second.length);
  extents_.erase(extent);
  committed_.erase(address);
}

// A checksum covers the bytes on disk. There is no compressor here: a compressed block's checksum
// is that of its share of the uncompressed bytes and of the kind of compression, so that it is
// equal for what is compressed alike, and for nothing else.
std::uint32_t MemoryStore::csum_of(const MemoryExtent& extent, std::size_t block) const {
  const std::span<const std::byte> content(extent.content);
  if (extent.compression == 0) return crc32c(content.subspan(block * block_, block_));
  const std::size_t blocks = extent.length / block_;
  const std::size_t first = block * content.size() / blocks;
  const std::size_t end = (block + 1) * content.size() / blocks;
  Bytes stored(content.begin() + static_cast<std::ptrdiff_t>(first),
               content.begin() + static_cast<std::ptrdiff_t>(end));
  stored.push_back(std::byte{extent.compression});
  return crc32c(stored);
}

std::uint64_t MemoryStore::commit() {
  flush_all();
  for (const std::uint64_t address : touched_) {
    if (extents_.at(address).users.empty()) {
      free_extent(address);
    } else {
      committed_[address] = describe(address);
    }
  }
  touched_.clear();
  // As START_SYNC: without a running transaction there is nothing to commit.
  if (running_) ++committed_generation_;
  running_ = false;
  return committed_generation_;
}

const MemoryItem& MemoryStore::item_at(const ItemKey& key) const {
  return find(key.file)->items.at(key.offset);
}

Extent MemoryStore::describe(std::uint64_t address) const {
  const MemoryExtent& extent = extents_.at(address);
  Extent out;
  out.address = address;
  out.length = extent.length;
  out.generation = extent.generation;
  std::map<std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>, std::uint32_t> counts;
  std::set<std::uint64_t> own_leaves, shared_leaves;
  for (const ItemKey& user : extent.users) {
    const MemoryItem& item = item_at(user);
    if (item.shared_leaf) {
      shared_leaves.insert(item.leaf);
      continue;
    }
    own_leaves.insert(item.leaf);
    ++counts[{user.file.root, user.file.inode, user.offset - item.extent.extent_offset}];
    ++out.refs;
  }
  for (const auto& [ref, count] : counts) {
    if (out.data_refs.size() == kMaxInlineRefs) break;
    out.data_refs.push_back({std::get<0>(ref), std::get<1>(ref), std::get<2>(ref), count});
  }
  for (const std::uint64_t leaf : shared_leaves) {
    if (own_leaves.contains(leaf)) continue;
    ++out.refs;
    out.shared_refs = true;
  }
  return out;
}

std::vector<MemoryStore::CsumStretch> MemoryStore::csums(std::uint64_t first,
                                                         std::uint64_t end) const {
  std::vector<CsumStretch> out;
  auto extent = extents_.upper_bound(first);
  if (extent != extents_.begin()) --extent;
  for (; extent != extents_.end() && extent->first < end; ++extent) {
    for (std::size_t i = 0; i < extent->second.csums.size(); ++i) {
      const std::uint64_t address = extent->first + i * block_;
      const auto& csum = extent->second.csums[i];
      if (address < first || address >= end || !csum) continue;
      const bool goes_on = !out.empty() && out.back().csums.size() < options_.csum_stretch_blocks &&
                           out.back().address + out.back().csums.size() * block_ == address;
      if (!goes_on) out.push_back({address, {}});
      out.back().csums.push_back(*csum);
    }
  }
  return out;
}

absl::StatusOr<std::vector<LogicalRef>> MemoryStore::references(std::uint64_t address,
                                                                bool exact) const {
  auto extent = extents_.upper_bound(address);
  if (extent != extents_.begin()) --extent;
  if (extent == extents_.end() || address < extent->first ||
      address >= extent->first + extent->second.length || !committed_.contains(extent->first)) {
    return errno_status(ENOENT, "LOGICAL_INO_V2", fmt::format("extent {:#x}", address));
  }
  const std::uint64_t position = address - extent->first;
  std::vector<LogicalRef> out;
  for (const ItemKey& user : extent->second.users) {
    const FileExtent& item = item_at(user).extent;
    std::uint64_t offset = user.offset;
    // The kernel cannot tell which part of a compressed extent a block of it belongs to, and
    // names every item. Else it names the block's offset in the file.
    if (exact && item.compression == 0) {
      if (position < item.extent_offset || position >= item.extent_offset + item.length) continue;
      offset += position - item.extent_offset;
    }
    out.push_back({user.file.inode, offset, user.file.root});
  }
  return out;
}

}  // namespace skep::btrfs
