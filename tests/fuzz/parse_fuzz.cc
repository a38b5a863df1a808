// SPDX-License-Identifier: MIT
//
// Feeds the parsers of tree search results with any bytes. They must not read past them, and what
// they accept must keep what their header promises.
//
// An input is the number of items that the buffer claims to hold (4 bytes), then the buffer.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "../unit/item_builder.h"
#include "fuzz_target.h"
#include "skep/btrfs/parse.h"

namespace {

using namespace skep::btrfs;    // NOLINT: one file, one subject
using namespace skep::testing;  // NOLINT
using skep::fuzz::require;

void check_extent(const Item& item, const Extent& extent) {
  require(item.key.type == kExtentItem, "an extent of another item type");
  require(extent.address == item.key.objectid, "an extent elsewhere");
  require(extent.length > 0 && extent.end() > extent.address, "an extent that wraps");
  require(item.data.size() >= 24, "a short extent item");
  require(extent.data_refs.size() <= (item.data.size() - 24) / 29, "more references than bytes");
  std::uint64_t named = 0;
  for (const DataRef& ref : extent.data_refs) named += ref.count;
  require(!extent.refs_all_inline() || named == extent.refs, "references are missing");
}

void check_file_extent(const Item& item, const FileExtent& extent) {
  require(item.key.type == kExtentData, "a file extent of another item type");
  require(extent.file_offset == item.key.offset, "a file extent elsewhere");
  require(extent.type == FileExtentType::kInline || item.data.size() >= 53, "a short file extent");
  require(extent.type != FileExtentType::kInline || extent.extent_address == 0,
          "inline data with an address");
}

void parse(const Item& item) {
  if (const auto extent = parse_extent_item(item)) check_extent(item, *extent);
  if (const auto extent = parse_file_extent(item)) check_file_extent(item, *extent);
  if (parse_inode_item(item)) {
    require(item.key.type == kInodeItem && item.data.size() >= 160, "a short inode item");
  }
  (void)parse_root_generation(item);
  if (const auto subvolume = parse_root_item(item)) {
    require(item.key.type == kRootItem && is_subvolume(subvolume->root), "a root of btrfs's own");
  }
  std::size_t name_bytes = 0;
  parse_names(item, [&](const FileName& name) { name_bytes += name.name.size(); });
  require(name_bytes <= item.data.size(), "more names than bytes");
  if (const auto place = parse_root_backref(item)) {
    require(item.key.type == kRootBackref && place->name.size() + 18 <= item.data.size(),
            "a place that ends outside its item");
  }
}

std::vector<std::uint8_t> to_input(std::uint32_t count, const ItemBuilder& buffer) {
  const ItemBuilder whole = ItemBuilder().u32(count).append(buffer.bytes());
  std::vector<std::uint8_t> out(whole.bytes().size());
  std::memcpy(out.data(), whole.bytes().data(), out.size());
  return out;
}

}  // namespace

std::vector<std::vector<std::uint8_t>> skep::fuzz::seed_inputs() {
  const ItemBuilder extent =
      extent_item(4, 99, kDataFlag)
          .append(ItemBuilder().u8(kOwnerRef).u64(5).bytes())
          .append(data_ref(5, 257, 0, 1).bytes())
          .append(data_ref(256, 300, 0 - 4096ULL, 2).bytes())
          .append(ItemBuilder().u8(kSharedDataRef).u64(1 << 20).u32(1).bytes());
  const ItemBuilder tree_block = extent_item(1, 98, kTreeBlockFlag)
                                     .zeros(18)
                                     .append(ItemBuilder().u8(kTreeBlockRef).u64(5).bytes())
                                     .append(ItemBuilder().u8(kSharedBlockRef).u64(5).bytes());
  const ItemBuilder regular = ItemBuilder()
                                  .u64(42)
                                  .u64(0x3000)
                                  .u8(3)
                                  .u8(0)
                                  .u16(0)
                                  .u8(1)
                                  .u64(0x45350000)
                                  .u64(0x2000)
                                  .u64(0x1000)
                                  .u64(0x2000);
  const ItemBuilder inline_data = ItemBuilder().u64(42).u64(5).u8(0).u8(0).u16(0).u8(0).zeros(5);
  const ItemBuilder inode = ItemBuilder().zeros(160);
  const ItemBuilder root = ItemBuilder().zeros(216).u32(1).zeros(219);
  const ItemBuilder backref = ItemBuilder().u64(256).u64(2).u16(2).u8('a').u8('b');
  const ItemBuilder names = ItemBuilder().u64(2).u16(1).u8('a').u64(3).u16(2).u8('b').u8('c');
  const ItemBuilder extended = ItemBuilder().u64(256).u64(4).u16(1).u8('d');
  const ItemBuilder all =
      ItemBuilder()
          .append(search_item({7, {0x45350000, kExtentItem, 0x20000}, extent.bytes()}).bytes())
          .append(search_item({7, {0x45390000, kExtentItem, 0x4000}, tree_block.bytes()}).bytes())
          .append(search_item({7, {257, kInodeItem, 0}, inode.bytes()}).bytes())
          .append(search_item({7, {257, kExtentData, 0x5000}, regular.bytes()}).bytes())
          .append(search_item({7, {258, kExtentData, 0}, inline_data.bytes()}).bytes())
          .append(search_item({7, {256, kRootItem, 0}, root.bytes()}).bytes())
          .append(search_item({7, {256, kRootBackref, 5}, backref.bytes()}).bytes())
          .append(search_item({7, {257, kInodeRef, 256}, names.bytes()}).bytes())
          .append(search_item({7, {257, kInodeExtref, 99}, extended.bytes()}).bytes());
  const ItemBuilder one = search_item({7, {0x45350000, kExtentItem, 0x20000}, extent.bytes()});
  return {to_input(9, all), to_input(1, one), to_input(0, ItemBuilder())};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::uint32_t count = 0;
  if (size < sizeof count) return 0;
  std::memcpy(&count, data, sizeof count);
  const std::span<const std::byte> buffer(reinterpret_cast<const std::byte*>(data) + sizeof count,
                                          size - sizeof count);
  std::uint64_t items = 0;
  const absl::Status status = parse_search_items(buffer, count, [&](const Item& item) {
    ++items;
    const std::byte* begin = item.data.data();
    require(item.data.empty() || (begin >= buffer.data() &&
                                  begin + item.data.size() <= buffer.data() + buffer.size()),
            "an item outside the buffer");
    parse(item);
    return true;
  });
  require(items <= count && items <= buffer.size() / 32, "more items than the buffer holds");
  require(status.ok() == (items == count), "a buffer that ended early, and no error");
  return 0;
}
