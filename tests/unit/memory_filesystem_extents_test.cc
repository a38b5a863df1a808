// SPDX-License-Identifier: MIT
//
// Extents, checksums, references, space and transactions of the in-memory filesystem.
#include <cerrno>

#include "skep/btrfs/crc32c.h"
#include "testing.h"

namespace skep::btrfs {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix

TEST_CASE("extents() shows a new extent after the sync, with its generation") {
  MemoryFilesystem fs;
  const std::uint64_t before = *fs.generation();
  const FileKey a = fs.create(kTopLevelRoot, blocks("AB"));
  CHECK(all_extents(fs).empty());
  CHECK(*fs.generation() == before + 1);
  CHECK(*fs.sync() == before + 1);
  const auto extents = all_extents(fs);
  REQUIRE(extents.size() == 1);
  CHECK(extents[0].address == map_of(fs, a).extents[0].extent_address);
  CHECK(extents[0].length == 2 * kBlock);
  CHECK(extents[0].generation == before + 1);
  REQUIRE(extents[0].data_refs.size() == 1);
  CHECK(extents[0].data_refs[0].root == kTopLevelRoot);
  CHECK(extents[0].data_refs[0].inode == a.inode);
  CHECK(extents[0].data_refs[0].offset == 0);
}

TEST_CASE("sync() raises the generation only when something changed") {
  MemoryFilesystem fs;
  fs.create(kTopLevelRoot, blocks("A"));
  const std::uint64_t committed = *fs.sync();
  CHECK(*fs.sync() == committed);
  CHECK(*fs.generation() == committed);
  fs.create(kTopLevelRoot, blocks("B"));
  CHECK(*fs.sync() == committed + 1);
}

TEST_CASE("extents() pages by the size of the buffer") {
  MemoryFilesystem fs;
  for (int i = 0; i < 10; ++i) fs.create(kTopLevelRoot, blocks("A"));
  REQUIRE(fs.sync().ok());
  const auto all = all_extents(fs);
  REQUIRE(all.size() == 10);
  std::vector<std::uint64_t> seen;
  std::uint64_t at = 0;
  for (bool done = false; !done;) {
    const auto page = fs.extents(at, kEverything, 200);
    REQUIRE(page.ok());
    REQUIRE(page->extents.size() <= 2);
    for (const Extent& extent : page->extents) seen.push_back(extent.address);
    done = page->done;
    REQUIRE((done || page->next > at));
    at = page->next;
  }
  REQUIRE(seen.size() == 10);
  for (std::size_t i = 0; i < seen.size(); ++i) CHECK(seen[i] == all[i].address);
  // Even a buffer that is too small for one item gives one.
  CHECK(fs.extents(0, kEverything, 1)->extents.size() == 1);
  // Both ends of the range count.
  CHECK(fs.extents(all[3].address, all[5].address, 4096)->extents.size() == 3);
  CHECK(fs.extents(all[3].address + 1, all[5].address - 1, 4096)->extents.size() == 1);
  CHECK(fs.extents(all[9].end(), kEverything, 4096)->done);
}

TEST_CASE("an extent stays whole as long as any part of it is referred to") {
  MemoryFilesystem fs;
  const FileKey a = fs.create(kTopLevelRoot, blocks("ABCDEFGH"));
  REQUIRE(fs.sync().ok());
  const std::uint64_t address = all_extents(fs)[0].address;
  REQUIRE(fs.write(a, 0, blocks("1234567")).ok());
  REQUIRE(fs.sync().ok());
  CHECK(fs.data_used() == 15 * kBlock);
  REQUIRE(fs.write(a, 7 * kBlock, blocks("8")).ok());
  CHECK(fs.data_used() == 16 * kBlock);  // the old one goes with the commit
  const auto refs = fs.logical_ino(address, false, 10);
  REQUIRE(refs.ok());
  CHECK(refs->empty());
  REQUIRE(fs.sync().ok());
  CHECK(fs.data_used() == 8 * kBlock);
  CHECK(errno_of(fs.logical_ino(address, false, 10).status()) == ENOENT);
  CHECK(fs.check().ok());
}

TEST_CASE("a freed address is used again, but not before the sync") {
  MemoryFilesystem fs;
  const FileKey a = fs.create(kTopLevelRoot, blocks("ABCD"));
  fs.create(kTopLevelRoot, blocks("E"));
  REQUIRE(fs.sync().ok());
  const std::uint64_t address = map_of(fs, a).extents[0].extent_address;
  REQUIRE(fs.remove(a).ok());
  const FileKey b = fs.create(kTopLevelRoot, blocks("FG"));
  CHECK(map_of(fs, b).extents[0].extent_address != address);
  REQUIRE(fs.sync().ok());
  const FileKey c = fs.create(kTopLevelRoot, blocks("HI"));
  CHECK(map_of(fs, c).extents[0].extent_address == address);
  REQUIRE(fs.sync().ok());
  CHECK(fs.check().ok());
}

TEST_CASE("neighbours that were freed one after the other make room for a longer extent") {
  MemoryFilesystem fs;
  std::vector<FileKey> files;
  for (int i = 0; i < 4; ++i) files.push_back(fs.create(kTopLevelRoot, blocks("AB")));
  const std::uint64_t address = map_of(fs, files[0]).extents[0].extent_address;
  // The middle last: it meets a gap on either side.
  for (const std::size_t i : {std::size_t{0}, std::size_t{2}, std::size_t{1}}) {
    REQUIRE(fs.remove(files[i]).ok());
    REQUIRE(fs.sync().ok());
    REQUIRE(fs.check().ok());
  }
  const FileKey longer = fs.create(kTopLevelRoot, blocks("ABCDEF"));
  CHECK(map_of(fs, longer).extents[0].extent_address == address);
}

TEST_CASE("references of one file at one distance are counted in one data reference") {
  MemoryFilesystem fs;
  const FileKey a = fs.create(kTopLevelRoot, blocks("ABCD"));
  REQUIRE(fs.punch(a, kBlock, kBlock).ok());
  REQUIRE(fs.reflink(a, 0, kBlock, a, 4 * kBlock).ok());
  REQUIRE(fs.sync().ok());
  const auto extents = all_extents(fs);
  REQUIRE(extents.size() == 1);
  CHECK(extents[0].refs == 3);
  REQUIRE(extents[0].data_refs.size() == 2);
  CHECK(extents[0].data_refs[0].offset == 0);
  CHECK(extents[0].data_refs[0].count == 2);
  CHECK(extents[0].data_refs[1].offset == 4 * kBlock);
  CHECK(extents[0].data_refs[1].count == 1);
}

TEST_CASE("a reference before its extent's start has an offset below zero") {
  MemoryFilesystem fs;
  const FileKey a = fs.create(kTopLevelRoot, blocks("ABCD")), b = fs.create(kTopLevelRoot);
  REQUIRE(fs.reflink(a, 2 * kBlock, kBlock, b, 0).ok());
  REQUIRE(fs.sync().ok());
  const auto extents = all_extents(fs);
  REQUIRE(extents[0].data_refs.size() == 2);
  CHECK(extents[0].data_refs[1].offset == 0 - 2 * kBlock);
}

TEST_CASE("an extent with many references names a few of them inline and counts all") {
  MemoryFilesystem fs;
  const FileKey a = fs.create(kTopLevelRoot, blocks("A"));
  for (int i = 0; i < 9; ++i) {
    REQUIRE(fs.reflink(a, 0, kBlock, fs.create(kTopLevelRoot), 0).ok());
  }
  REQUIRE(fs.sync().ok());
  const auto extents = all_extents(fs);
  CHECK(extents[0].refs == 10);
  CHECK(extents[0].data_refs.size() == 4);
  CHECK_FALSE(extents[0].refs_all_inline());
  CHECK(fs.logical_ino(extents[0].address, false, 10)->size() == 10);
  CHECK(fs.logical_ino(extents[0].address, false, 9).status().code() ==
        absl::StatusCode::kResourceExhausted);
}

TEST_CASE("logical_ino names the items of an extent, or with `exact` those of one block") {
  MemoryFilesystem fs;
  const FileKey a = fs.create(kTopLevelRoot, blocks("ABCD")),
                b = fs.create(kTopLevelRoot, blocks("xy"));
  REQUIRE(fs.reflink(a, 2 * kBlock, 2 * kBlock, b, kBlock).ok());
  REQUIRE(fs.sync().ok());
  const std::uint64_t address = map_of(fs, a).extents[0].extent_address;
  const LogicalRef in_a{a.inode, 0, kTopLevelRoot}, in_b{b.inode, kBlock, kTopLevelRoot};
  CHECK(*fs.logical_ino(address, false, 10) == std::vector{in_a, in_b});
  CHECK(*fs.logical_ino(address + kBlock, false, 10) == std::vector{in_a, in_b});
  CHECK(*fs.logical_ino(address, true, 10) == std::vector{in_a});
  // With `exact` the kernel adds the block's distance from the item's start.
  const LogicalRef block_in_a{a.inode, 3 * kBlock, kTopLevelRoot};
  const LogicalRef block_in_b{b.inode, 2 * kBlock, kTopLevelRoot};
  CHECK(*fs.logical_ino(address + 3 * kBlock, true, 10) == std::vector{block_in_a, block_in_b});
}

TEST_CASE("csums() gives crc32c of each block, in order") {
  MemoryFilesystem fs;
  const Bytes bytes = random_bytes(7, 5 * kBlock);
  const FileKey a = fs.create(kTopLevelRoot, bytes);
  const std::uint64_t address = map_of(fs, a).extents[0].extent_address;
  const auto csums = all_csums(fs);
  REQUIRE(csums.size() == 5);
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK(csums.at(address + i * kBlock) == crc32c(std::span(bytes).subspan(i * kBlock, kBlock)));
  }
}

TEST_CASE("csums() cuts at the range and into stretches") {
  MemoryOptions options;
  options.csum_stretch_blocks = 3;
  MemoryFilesystem fs(options);
  const FileKey a = fs.create(kTopLevelRoot, blocks("ABCDEFGH"));
  const std::uint64_t address = map_of(fs, a).extents[0].extent_address;
  std::vector<std::pair<std::uint64_t, std::size_t>> stretches;
  const auto status = fs.csums(address + kBlock, address + 6 * kBlock,
                               [&](std::uint64_t at, std::span<const std::byte> csums) {
                                 stretches.emplace_back((at - address) / kBlock, csums.size() / 4);
                               });
  REQUIRE(status.ok());
  CHECK(stretches == std::vector<std::pair<std::uint64_t, std::size_t>>{{1, 3}, {4, 2}});
}

TEST_CASE("csums() of adjacent extents come in one stretch") {
  MemoryFilesystem fs;
  fs.create(kTopLevelRoot, blocks("AB"));
  fs.create(kTopLevelRoot, blocks("CD"));
  int stretches = 0;
  REQUIRE(fs.csums(0, kEverything, [&](std::uint64_t, std::span<const std::byte> csums) {
              ++stretches;
              CHECK(csums.size() == 16);
            }).ok());
  CHECK(stretches == 1);
}

TEST_CASE("nodatasum and preallocated extents have no checksums") {
  MemoryFilesystem fs;
  fs.create(kTopLevelRoot, blocks("AB"), kInodeNodatasum);
  REQUIRE(fs.fallocate(fs.create(kTopLevelRoot), 0, 4 * kBlock).ok());
  CHECK(all_csums(fs).empty());
  CHECK(fs.data_used() == 6 * kBlock);
}

TEST_CASE("a preallocated extent that is partly written has checksums for that part") {
  MemoryFilesystem fs;
  const FileKey a = fs.create(kTopLevelRoot);
  REQUIRE(fs.fallocate(a, 0, 4 * kBlock).ok());
  REQUIRE(fs.write(a, kBlock, blocks("BC")).ok());
  const FileMap map = map_of(fs, a);
  REQUIRE(map.extents.size() == 3);
  CHECK(map.extents[0].type == FileExtentType::kPrealloc);
  CHECK(map.extents[1].type == FileExtentType::kRegular);
  CHECK(map.extents[1].extent_address == map.extents[0].extent_address);
  CHECK(map.extents[1].extent_offset == kBlock);
  CHECK(map.extents[2].type == FileExtentType::kPrealloc);
  const std::uint64_t address = map.extents[0].extent_address;
  const auto csums = all_csums(fs);
  REQUIRE(csums.size() == 2);
  CHECK(csums.contains(address + kBlock));
  CHECK(csums.contains(address + 2 * kBlock));
  CHECK(fs.read_all(a) == joined(joined(Bytes(kBlock), blocks("BC")), Bytes(kBlock)));
  REQUIRE(fs.sync().ok());
  CHECK(fs.check().ok());
}

TEST_CASE("compressed extents are at most 128 KiB, shorter on disk, and csummed as on disk") {
  MemoryFilesystem fs;
  const Bytes bytes = random_bytes(3, 300 << 10);
  const FileKey a = fs.create(kTopLevelRoot, bytes, 0, 1);
  const FileMap map = map_of(fs, a);
  REQUIRE(map.extents.size() == 3);
  CHECK(map.extents[0].length == 128 << 10);
  CHECK(map.extents[0].extent_length == 64 << 10);
  CHECK(map.extents[0].compression == 1);
  CHECK(fs.data_used() == (64 << 10) * 2 + 6 * kBlock);
  CHECK(all_csums(fs).size() == 16 + 16 + 6);
  CHECK(fs.read_all(a) == bytes);
}

TEST_CASE("extents compressed alike have equal checksums, others not") {
  MemoryFilesystem fs;
  const Bytes bytes = random_bytes(3, 8 * kBlock);
  const auto csums_of = [&](std::uint8_t compression) {
    const FileKey key = fs.create(kTopLevelRoot, bytes, 0, compression);
    const FileExtent extent = map_of(fs, key).extents[0];
    std::vector<std::uint32_t> out;
    for (const auto& [at, csum] : all_csums(fs)) {
      if (at >= extent.extent_address && at < extent.extent_address + extent.extent_length) {
        out.push_back(csum);
      }
    }
    return out;
  };
  const auto zlib = csums_of(1);
  REQUIRE(zlib.size() == 4);
  CHECK(zlib == csums_of(1));
  CHECK(zlib != csums_of(3));
  CHECK(csums_of(0).size() == 8);
}

TEST_CASE("a single block is never compressed") {
  MemoryFilesystem fs;
  const FileKey a = fs.create(kTopLevelRoot, blocks("A"), 0, 3);
  CHECK(map_of(fs, a).extents[0].compression == 0);
  CHECK(map_of(fs, a).extents[0].extent_length == kBlock);
}

TEST_CASE("writes longer than the longest extent are cut") {
  MemoryOptions options;
  options.max_extent_length = 2 * kBlock;
  MemoryFilesystem fs(options);
  const FileKey a = fs.create(kTopLevelRoot, blocks("ABCDE"));
  CHECK(map_of(fs, a).extents.size() == 3);
  CHECK(fs.extent_count() == 3);
}

TEST_CASE("space() counts extents until they are gone, and the capacity ends in ENOSPC") {
  MemoryOptions options;
  options.capacity = 4 * kBlock;
  MemoryFilesystem fs(options);
  const FileKey a = fs.create(kTopLevelRoot, blocks("ABC"));
  CHECK(fs.space()->data.used == 3 * kBlock);
  CHECK(fs.space()->data.total == 4 * kBlock);
  CHECK(errno_of(fs.write(a, 0, blocks("12"))) == ENOSPC);
  REQUIRE(fs.remove(a).ok());
  CHECK(fs.space()->data.used == 3 * kBlock);  // not free before the commit
  REQUIRE(fs.sync().ok());
  CHECK(fs.space()->data.used == 0);
  fs.create(kTopLevelRoot, blocks("ABCD"));
  CHECK(fs.check().ok());
}

TEST_CASE("other block sizes work") {
  MemoryOptions options;
  options.block_size = 16384;
  MemoryFilesystem fs(options);
  const FileKey a = fs.create(kTopLevelRoot, random_bytes(1, 40000));
  CHECK(fs.info().block_size == 16384);
  CHECK(map_of(fs, a).extents[0].length == 3 * 16384);
  CHECK(all_csums(fs).size() == 3);
  CHECK(fs.read_all(a) == random_bytes(1, 40000));
}

}  // namespace
}  // namespace skep::btrfs
