// SPDX-License-Identifier: MIT
#include "skep/btrfs/parse.h"

#include <limits>

#include "catch.h"
#include "item_builder.h"
#include "testing.h"

namespace skep::btrfs {
namespace {

using namespace skep::testing;  // NOLINT: item types read better without a prefix

constexpr std::uint64_t kAddress = 0x45350000, kLength = 0x20000;

std::optional<Extent> parse_extent(const ItemBuilder& bytes, std::uint64_t address = kAddress,
                                   std::uint64_t length = kLength) {
  return parse_extent_item({7, {address, kExtentItem, length}, bytes.bytes()});
}

ItemBuilder regular_file_extent() {
  return ItemBuilder()
      .u64(42)        // generation
      .u64(0x30000)   // ram_bytes
      .u8(3)          // compression
      .u8(0)          // encryption
      .u16(0)         // other_encoding
      .u8(1)          // type
      .u64(kAddress)  // disk_bytenr
      .u64(kLength)   // disk_num_bytes
      .u64(0x1000)    // offset
      .u64(0x2000);   // num_bytes
}

std::optional<FileExtent> parse_file(std::span<const std::byte> bytes) {
  return parse_file_extent({7, {257, kExtentData, 0x5000}, bytes});
}

ItemBuilder inode_item() {
  return ItemBuilder()
      .u64(9)
      .u64(10)
      .u64(123456)  // size
      .u64(0)
      .u64(0)
      .u32(2)  // nlink
      .u32(1000)
      .u32(1000)
      .u32(0100644)  // mode
      .u64(0)
      .u64(kInodeNodatasum | kInodeImmutable)
      .zeros(160 - 72);
}

ItemBuilder root_item(std::uint32_t refs, std::uint64_t flags) {
  return ItemBuilder()
      .append(inode_item().bytes())
      .u64(50)
      .u64(256)
      .u64(0)
      .u64(0)
      .u64(0)
      .u64(33)  // last_snapshot
      .u64(flags)
      .u32(refs)
      .zeros(17 + 2);  // drop_progress, drop_level, level
}

TEST_CASE("an extent item without inline references") {
  const auto extent = parse_extent(extent_item(3, 99, kDataFlag));
  REQUIRE(extent);
  CHECK(extent->address == kAddress);
  CHECK(extent->length == kLength);
  CHECK(extent->end() == kAddress + kLength);
  CHECK(extent->generation == 99);
  CHECK(extent->refs == 3);
  CHECK(extent->data_refs.empty());
  CHECK_FALSE(extent->shared_refs);
  CHECK_FALSE(extent->refs_all_inline());
}

TEST_CASE("data references are read whole, also an offset below zero") {
  const std::uint64_t below_zero = 0 - 0x1000ULL;
  const auto extent = parse_extent(extent_item(3, 99, kDataFlag)
                                       .append(data_ref(5, 257, below_zero, 2).bytes())
                                       .append(data_ref(256, 300, 0x7000, 1).bytes()));
  REQUIRE(extent);
  REQUIRE(extent->data_refs.size() == 2);
  CHECK(extent->data_refs[0].root == 5);
  CHECK(extent->data_refs[0].inode == 257);
  CHECK(extent->data_refs[0].offset == below_zero);
  CHECK(extent->data_refs[0].count == 2);
  CHECK(extent->data_refs[1].root == 256);
  CHECK(extent->data_refs[1].inode == 300);
  CHECK(extent->data_refs[1].offset == 0x7000);
  CHECK(extent->data_refs[1].count == 1);
  CHECK(extent->refs_all_inline());
}

TEST_CASE("a shared data reference is noted and hides who refers") {
  const auto extent =
      parse_extent(extent_item(2, 99, kDataFlag)
                       .append(data_ref(5, 257, 0, 1).bytes())
                       .append(ItemBuilder().u8(kSharedDataRef).u64(0x1d4000).u32(1).bytes()));
  REQUIRE(extent);
  CHECK(extent->data_refs.size() == 1);
  CHECK(extent->shared_refs);
  CHECK_FALSE(extent->refs_all_inline());
}

TEST_CASE("an owner reference of simple quotas comes first and is skipped") {
  const auto extent = parse_extent(extent_item(1, 99, kDataFlag)
                                       .append(ItemBuilder().u8(kOwnerRef).u64(5).bytes())
                                       .append(data_ref(5, 257, 0, 1).bytes()));
  REQUIRE(extent);
  REQUIRE(extent->data_refs.size() == 1);
  CHECK(extent->data_refs[0].inode == 257);
  CHECK(extent->refs_all_inline());
}

TEST_CASE("references of tree blocks are stepped over") {
  for (const std::uint8_t type : {kTreeBlockRef, kSharedBlockRef}) {
    const auto extent = parse_extent(extent_item(1, 99, kDataFlag)
                                         .append(ItemBuilder().u8(type).u64(5).bytes())
                                         .append(data_ref(5, 257, 0, 1).bytes()));
    REQUIRE(extent);
    CHECK(extent->data_refs.size() == 1);
  }
}

TEST_CASE("a reference of an unknown type ends the references, not the extent") {
  const auto extent = parse_extent(extent_item(2, 99, kDataFlag)
                                       .append(data_ref(5, 257, 0, 1).bytes())
                                       .u8(255)
                                       .append(data_ref(5, 258, 0, 1).bytes()));
  REQUIRE(extent);
  CHECK(extent->data_refs.size() == 1);
  CHECK_FALSE(extent->refs_all_inline());
}

TEST_CASE("an extent item cut off anywhere names only whole references") {
  const ItemBuilder whole = extent_item(3, 99, kDataFlag)
                                .append(ItemBuilder().u8(kOwnerRef).u64(5).bytes())
                                .append(data_ref(5, 257, 0, 1).bytes())
                                .append(data_ref(5, 258, 0, 2).bytes());
  for (std::size_t size = 0; size <= whole.bytes().size(); ++size) {
    INFO("cut to " << size);
    // A copy of its own, so that a sanitizer sees a read past it.
    const Bytes cut(whole.bytes().begin(),
                    whole.bytes().begin() + static_cast<std::ptrdiff_t>(size));
    const auto extent = parse_extent_item({7, {kAddress, kExtentItem, kLength}, cut});
    REQUIRE(extent.has_value() == (size >= 24));
    if (!extent) continue;
    const std::size_t refs = size < 24 + 9 + 29 ? 0 : size < 24 + 9 + 58 ? 1 : 2;
    CHECK(extent->data_refs.size() == refs);
    CHECK(extent->refs_all_inline() == (refs == 2));
  }
}

TEST_CASE("tree blocks and other items are no data extents") {
  CHECK_FALSE(parse_extent(extent_item(1, 99, kTreeBlockFlag)));
  CHECK_FALSE(parse_extent(extent_item(1, 99, 0)));
  const ItemBuilder item = extent_item(1, 99, kDataFlag);
  CHECK_FALSE(parse_extent_item({7, {kAddress, kDataRef, kLength}, item.bytes()}));
}

TEST_CASE("an extent that is empty or wraps is refused") {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  const ItemBuilder item = extent_item(1, 99, kDataFlag);
  CHECK_FALSE(parse_extent(item, kAddress, 0));
  CHECK_FALSE(parse_extent(item, kMax - 0xfff, 0x2000));
  CHECK(parse_extent(item, kMax - 0x1fff, 0x1000));
}

TEST_CASE("a regular file extent") {
  const auto extent = parse_file(regular_file_extent().bytes());
  REQUIRE(extent);
  CHECK(extent->file_offset == 0x5000);
  CHECK(extent->length == 0x2000);
  CHECK(extent->extent_address == kAddress);
  CHECK(extent->extent_length == kLength);
  CHECK(extent->extent_offset == 0x1000);
  CHECK(extent->type == FileExtentType::kRegular);
  CHECK(extent->compression == 3);
  CHECK_FALSE(extent->encoded);
  CHECK(extent->generation == 42);
}

TEST_CASE("a preallocated file extent, and a type nobody knows") {
  Bytes bytes = regular_file_extent().bytes();
  bytes[20] = std::byte{2};
  REQUIRE(parse_file(bytes));
  CHECK(parse_file(bytes)->type == FileExtentType::kPrealloc);
  bytes[20] = std::byte{3};
  CHECK_FALSE(parse_file(bytes));
}

TEST_CASE("encryption and other encodings mark a file extent as encoded") {
  for (const std::size_t at : {17U, 18U, 19U}) {
    Bytes bytes = regular_file_extent().bytes();
    bytes[at] = std::byte{1};
    REQUIRE(parse_file(bytes));
    CHECK(parse_file(bytes)->encoded);
  }
}

TEST_CASE("an inline file extent has its length from ram_bytes and no address") {
  const ItemBuilder item =
      ItemBuilder().u64(42).u64(11).u8(0).u8(0).u16(0).u8(0).append(bytes_of("hello world"));
  const auto extent = parse_file(item.bytes());
  REQUIRE(extent);
  CHECK(extent->type == FileExtentType::kInline);
  CHECK(extent->length == 11);
  CHECK(extent->extent_address == 0);
  CHECK(extent->generation == 42);
}

TEST_CASE("a file extent cut off anywhere is refused") {
  const ItemBuilder whole = regular_file_extent();
  REQUIRE(whole.bytes().size() == 53);
  for (std::size_t size = 0; size < whole.bytes().size(); ++size) {
    INFO("cut to " << size);
    const Bytes cut(whole.bytes().begin(),
                    whole.bytes().begin() + static_cast<std::ptrdiff_t>(size));
    CHECK_FALSE(parse_file(cut));
  }
  CHECK_FALSE(parse_file_extent({7, {257, kInodeItem, 0}, whole.bytes()}));
}

TEST_CASE("an inode item") {
  const ItemBuilder item = inode_item();
  REQUIRE(item.bytes().size() == 160);
  const auto inode = parse_inode_item({7, {257, kInodeItem, 0}, item.bytes()});
  REQUIRE(inode);
  CHECK(inode->generation == 9);
  CHECK(inode->size == 123456);
  CHECK(inode->links == 2);
  CHECK(inode->mode == 0100644);
  CHECK(inode->flags == (kInodeNodatasum | kInodeImmutable));
}

TEST_CASE("an inode item cut off anywhere is refused") {
  const ItemBuilder whole = inode_item();
  for (std::size_t size = 0; size < whole.bytes().size(); ++size) {
    const Bytes cut(whole.bytes().begin(),
                    whole.bytes().begin() + static_cast<std::ptrdiff_t>(size));
    CHECK_FALSE(parse_inode_item({7, {257, kInodeItem, 0}, cut}));
  }
}

TEST_CASE("a root item names its last snapshot and whether it is read-only") {
  const auto writable = parse_root_item({7, {256, kRootItem, 0}, root_item(1, 0).bytes()});
  REQUIRE(writable);
  CHECK(writable->root == 256);
  CHECK(writable->last_snapshot == 33);
  CHECK_FALSE(writable->read_only);
  const auto read_only = parse_root_item({7, {256, kRootItem, 0}, root_item(1, 1).bytes()});
  REQUIRE(read_only);
  CHECK(read_only->read_only);
}

TEST_CASE("a root item has a generation, cut off it has none") {
  const ItemBuilder whole = root_item(0, 0);
  CHECK(parse_root_generation({7, {256, kRootItem, 0}, whole.bytes()}) == 50);
  for (const std::size_t size : {0U, 160U, 167U}) {
    const std::span<const std::byte> cut(whole.bytes().data(), size);
    CHECK_FALSE(parse_root_generation({7, {256, kRootItem, 0}, cut}));
  }
  CHECK_FALSE(parse_root_generation({7, {256, kInodeItem, 0}, whole.bytes()}));
}

TEST_CASE("root items of btrfs's own trees and of subvolumes being deleted are left out") {
  const ItemBuilder live = root_item(1, 0), dying = root_item(0, 0);
  CHECK(parse_root_item({7, {5, kRootItem, 0}, live.bytes()}));
  CHECK_FALSE(parse_root_item({7, {256, kRootItem, 0}, dying.bytes()}));
  for (const std::uint64_t tree : std::vector<std::uint64_t>{2, 7, 9, 0 - 9ULL}) {
    CHECK_FALSE(parse_root_item({7, {tree, kRootItem, 0}, live.bytes()}));
  }
}

TEST_CASE("a root item cut off before its drop progress is refused") {
  const ItemBuilder whole = root_item(1, 0);
  for (std::size_t size = 0; size < whole.bytes().size(); ++size) {
    const Bytes cut(whole.bytes().begin(),
                    whole.bytes().begin() + static_cast<std::ptrdiff_t>(size));
    CHECK(parse_root_item({7, {256, kRootItem, 0}, cut}).has_value() == (size >= 220));
  }
}

struct Seen {
  Key key;
  std::uint64_t transid;
  Bytes data;
};

absl::Status walk(std::span<const std::byte> buffer, std::uint32_t count, std::vector<Seen>& seen,
                  std::size_t stop_after = 100) {
  return parse_search_items(buffer, count, [&](const Item& item) {
    seen.push_back({item.key, item.transid, {item.data.begin(), item.data.end()}});
    return seen.size() < stop_after;
  });
}

ItemBuilder three_items() {
  const Bytes hello = bytes_of("hello");
  return ItemBuilder()
      .append(search_item({11, {257, kInodeItem, 0}, hello}).bytes())
      .append(search_item({12, {257, kExtentData, 4096}, {}}).bytes())
      .append(search_item({13, {258, kInodeItem, 0}, hello}).bytes());
}

std::vector<FileName> names_in(std::uint8_t type, std::span<const std::byte> bytes) {
  std::vector<FileName> out;
  parse_names({7, {257, type, 300}, bytes}, [&](FileName name) { out.push_back(std::move(name)); });
  return out;
}

TEST_CASE("an inode's names are read, several from one item") {
  const ItemBuilder two =
      ItemBuilder().u64(2).u16(1).append(bytes_of("a")).u64(3).u16(5).append(bytes_of("b.txt"));
  CHECK(names_in(kInodeRef, two.bytes()) == std::vector<FileName>{{300, "a"}, {300, "b.txt"}});
  const ItemBuilder extended = ItemBuilder()
                                   .append(ItemBuilder().u64(256).u64(4).u16(1).bytes())
                                   .append(bytes_of("c"))
                                   .append(ItemBuilder().u64(301).u64(5).u16(2).bytes())
                                   .append(bytes_of("de"));
  CHECK(names_in(kInodeExtref, extended.bytes()) == std::vector<FileName>{{256, "c"}, {301, "de"}});
  CHECK(names_in(kInodeItem, two.bytes()).empty());
}

TEST_CASE("names that do not fit their item end it") {
  const ItemBuilder two =
      ItemBuilder().u64(2).u16(1).append(bytes_of("a")).u64(3).u16(5).append(bytes_of("b.txt"));
  for (std::size_t size = 0; size < two.bytes().size(); ++size) {
    INFO("cut to " << size);
    const auto names = names_in(kInodeRef, std::span(two.bytes()).first(size));
    CHECK(names.size() == (size < 11 ? 0U : 1U));
  }
  CHECK(names_in(kInodeRef, ItemBuilder().u64(2).u16(0).u8('a').bytes()).empty());
}

TEST_CASE("a subvolume's place is read from its ROOT_BACKREF") {
  const ItemBuilder item = ItemBuilder().u64(260).u64(7).u16(4).append(bytes_of("home"));
  const auto place = parse_root_backref({7, {256, kRootBackref, 5}, item.bytes()});
  REQUIRE(place);
  CHECK(*place == FileName{260, "home"});
  CHECK_FALSE(parse_root_backref({7, {256, kRootItem, 5}, item.bytes()}));
  for (std::size_t size = 0; size < item.bytes().size(); ++size) {
    CHECK_FALSE(
        parse_root_backref({7, {256, kRootBackref, 5}, std::span(item.bytes()).first(size)}));
  }
}

TEST_CASE("a search buffer gives its items in order") {
  std::vector<Seen> seen;
  REQUIRE(walk(three_items().bytes(), 3, seen).ok());
  REQUIRE(seen.size() == 3);
  CHECK(seen[0].key == Key{257, kInodeItem, 0});
  CHECK(seen[0].transid == 11);
  CHECK(seen[0].data == bytes_of("hello"));
  CHECK(seen[1].key == Key{257, kExtentData, 4096});
  CHECK(seen[1].data.empty());
  CHECK(seen[2].key == Key{258, kInodeItem, 0});
  CHECK(seen[2].transid == 13);
}

TEST_CASE("a search buffer is read as far as the count says, not further") {
  std::vector<Seen> seen;
  REQUIRE(walk(three_items().bytes(), 2, seen).ok());
  CHECK(seen.size() == 2);
  seen.clear();
  REQUIRE(walk({}, 0, seen).ok());
  CHECK(seen.empty());
}

TEST_CASE("the visitor of a search buffer can end the walk") {
  std::vector<Seen> seen;
  REQUIRE(walk(three_items().bytes(), 3, seen, 1).ok());
  CHECK(seen.size() == 1);
}

TEST_CASE("a search buffer cut off anywhere gives its whole items, then DATA_LOSS") {
  const ItemBuilder whole = three_items();
  for (std::size_t size = 0; size < whole.bytes().size(); ++size) {
    INFO("cut to " << size);
    const Bytes cut(whole.bytes().begin(),
                    whole.bytes().begin() + static_cast<std::ptrdiff_t>(size));
    std::vector<Seen> seen;
    CHECK(walk(cut, 3, seen).code() == absl::StatusCode::kDataLoss);
    CHECK(seen.size() == (size < 37 ? 0U : size < 37 + 32 ? 1U : 2U));
  }
}

TEST_CASE("a search buffer with lying lengths or counts gives DATA_LOSS") {
  const Bytes hello = bytes_of("hello");
  for (const std::uint32_t length : {6U, 4096U, 0x7fffffffU, 0xffffffffU}) {
    INFO("length " << length);
    const ItemBuilder lying =
        ItemBuilder().u64(11).u64(257).u64(0).u32(kInodeItem).u32(length).append(hello);
    std::vector<Seen> seen;
    CHECK(walk(lying.bytes(), 1, seen).code() == absl::StatusCode::kDataLoss);
    CHECK(seen.empty());
  }
  std::vector<Seen> seen;
  CHECK(walk(three_items().bytes(), 0xffffffff, seen).code() == absl::StatusCode::kDataLoss);
  CHECK(seen.size() == 3);
}

}  // namespace
}  // namespace skep::btrfs
