// SPDX-License-Identifier: MIT
//
// Builds items of btrfs trees byte by byte, from the on-disk format and not from the kernel's
// structures, so that a wrong structure would show.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "skep/btrfs/parse.h"

namespace skep::testing {

class ItemBuilder {
 public:
  // The `width` lowest bytes of `value`, lowest first.
  ItemBuilder& put(std::uint64_t value, int width) {
    for (int i = 0; i < width; ++i) bytes_.push_back(static_cast<std::byte>(value >> (8 * i)));
    return *this;
  }
  ItemBuilder& u8(std::uint64_t value) { return put(value, 1); }
  ItemBuilder& u16(std::uint64_t value) { return put(value, 2); }
  ItemBuilder& u32(std::uint64_t value) { return put(value, 4); }
  ItemBuilder& u64(std::uint64_t value) { return put(value, 8); }
  ItemBuilder& zeros(std::size_t count) {
    bytes_.insert(bytes_.end(), count, std::byte{0});
    return *this;
  }
  ItemBuilder& append(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

// Item types and inline reference types, as the disk has them.
inline constexpr std::uint8_t kInodeItem = 1;
inline constexpr std::uint8_t kInodeRef = 12;
inline constexpr std::uint8_t kInodeExtref = 13;
inline constexpr std::uint8_t kExtentData = 108;
inline constexpr std::uint8_t kRootItem = 132;
inline constexpr std::uint8_t kRootBackref = 144;
inline constexpr std::uint8_t kExtentItem = 168;
inline constexpr std::uint8_t kOwnerRef = 172;
inline constexpr std::uint8_t kTreeBlockRef = 176;
inline constexpr std::uint8_t kDataRef = 178;
inline constexpr std::uint8_t kSharedBlockRef = 182;
inline constexpr std::uint8_t kSharedDataRef = 184;
inline constexpr std::uint64_t kDataFlag = 1;
inline constexpr std::uint64_t kTreeBlockFlag = 2;

inline ItemBuilder extent_item(std::uint64_t refs, std::uint64_t generation, std::uint64_t flags) {
  return ItemBuilder().u64(refs).u64(generation).u64(flags);
}

inline ItemBuilder data_ref(std::uint64_t root, std::uint64_t inode, std::uint64_t offset,
                            std::uint32_t count) {
  return ItemBuilder().u8(kDataRef).u64(root).u64(inode).u64(offset).u32(count);
}

// One item with its header, as TREE_SEARCH_V2 lays it out.
inline ItemBuilder search_item(const btrfs::Item& item) {
  return ItemBuilder()
      .u64(item.transid)
      .u64(item.key.objectid)
      .u64(item.key.offset)
      .u32(item.key.type)
      .u32(item.data.size())
      .append(item.data);
}

}  // namespace skep::testing
