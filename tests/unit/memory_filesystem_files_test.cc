// SPDX-License-Identifier: MIT
//
// Files of the in-memory filesystem: contents, holes, sizes, open and temporary files.
#include <cerrno>

#include "skep/btrfs/crc32c.h"
#include "testing.h"

namespace skep::btrfs {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix

struct FilesFixture {
  MemoryFilesystem fs;
  FileKey file(const Bytes& bytes) { return fs.create(kTopLevelRoot, bytes); }
  ~FilesFixture() { CHECK(fs.check().ok()); }
};

TEST_CASE_METHOD(FilesFixture, "a write inside an extent splits the file extent item") {
  const FileKey a = file(blocks("ABCD"));
  REQUIRE(fs.write(a, kBlock + 10, bytes_of("xyz")).ok());
  Bytes expected = blocks("ABCD");
  for (std::size_t i = 0; i < 3; ++i) expected[kBlock + 10 + i] = bytes_of("xyz")[i];
  CHECK(fs.read_all(a) == expected);
  const FileMap map = map_of(fs, a);
  REQUIRE(map.extents.size() == 3);
  CHECK(map.extents[0].length == kBlock);
  CHECK(map.extents[1].length == kBlock);
  CHECK(map.extents[2].extent_offset == 2 * kBlock);
  CHECK(map.extents[2].extent_address == map.extents[0].extent_address);
}

TEST_CASE_METHOD(FilesFixture, "file_map() gives the items that begin in the range") {
  const FileKey a = file(blocks("AB"));
  REQUIRE(fs.write(a, 2 * kBlock, blocks("CD")).ok());
  REQUIRE(fs.write(a, 4 * kBlock, blocks("EF")).ok());
  CHECK(fs.file_map(a, 0, kEverything)->extents.size() == 3);
  CHECK(fs.file_map(a, kBlock, 4 * kBlock)->extents.size() == 1);
  CHECK(fs.file_map(a, 2 * kBlock, 2 * kBlock + 1)->extents.size() == 1);
  CHECK(fs.file_map(a, 0, kEverything)->inode.size == 6 * kBlock);
  CHECK(fs.file_map({kTopLevelRoot, 99999}, 0, 1).status().code() == absl::StatusCode::kNotFound);
  CHECK(fs.file_map({999, a.inode}, 0, 1).status().code() == absl::StatusCode::kNotFound);
}

TEST_CASE_METHOD(FilesFixture, "holes have no items and read as zeroes") {
  const FileKey a = file(blocks("A"));
  REQUIRE(fs.write(a, 3 * kBlock, blocks("D")).ok());
  REQUIRE(map_of(fs, a).extents.size() == 2);
  CHECK(fs.read_all(a) == joined(joined(blocks("A"), Bytes(2 * kBlock)), blocks("D")));
}

TEST_CASE_METHOD(FilesFixture, "punch drops whole blocks and writes zeroes at the edges") {
  const FileKey a = file(blocks("ABCD"));
  REQUIRE(fs.punch(a, kBlock / 2, 2 * kBlock).ok());
  Bytes expected = blocks("ABCD");
  std::fill_n(expected.begin() + kBlock / 2, 2 * kBlock, std::byte{0});
  CHECK(fs.read_all(a) == expected);
  const FileMap map = map_of(fs, a);
  REQUIRE(map.extents.size() == 3);
  CHECK(map.extents[1].file_offset == 2 * kBlock);
  REQUIRE(fs.punch(a, 10, 20).ok());
  std::fill_n(expected.begin() + 10, 20, std::byte{0});
  CHECK(fs.read_all(a) == expected);
}

TEST_CASE_METHOD(FilesFixture, "a file shrunk into a block keeps the block's old bytes on disk") {
  const FileKey a = file(blocks("AB"));
  const std::uint64_t address = map_of(fs, a).extents[0].extent_address;
  REQUIRE(fs.truncate(a, kBlock + 100).ok());
  CHECK(fs.read_all(a) == head(blocks("AB"), kBlock + 100));
  CHECK(map_of(fs, a).extents[0].extent_address == address);
  CHECK(map_of(fs, a).extents[0].length == 2 * kBlock);
  CHECK(all_csums(fs).at(address + kBlock) == crc32c(blocks("B")));
}

TEST_CASE_METHOD(FilesFixture, "a file that grows again has zeroes where it was cut") {
  for (const bool by_write : {false, true}) {
    const FileKey a = file(blocks("AB"));
    REQUIRE(fs.truncate(a, kBlock + 100).ok());
    Bytes expected = head(head(blocks("AB"), kBlock + 100), 3 * kBlock);
    if (by_write) {
      REQUIRE(fs.write(a, 3 * kBlock, blocks("D")).ok());
      expected = joined(expected, blocks("D"));
    } else {
      REQUIRE(fs.truncate(a, 3 * kBlock).ok());
    }
    CHECK(fs.read_all(a) == expected);
    CHECK(map_of(fs, a).extents[1].extent_address != map_of(fs, a).extents[0].extent_address);
  }
}

TEST_CASE_METHOD(FilesFixture, "fallocate fills holes and leaves data alone") {
  const FileKey a = file(blocks("A"));
  REQUIRE(fs.write(a, 2 * kBlock, blocks("C")).ok());
  REQUIRE(fs.fallocate(a, 0, 4 * kBlock).ok());
  const FileMap map = map_of(fs, a);
  REQUIRE(map.extents.size() == 4);
  CHECK(map.extents[1].type == FileExtentType::kPrealloc);
  CHECK(map.extents[3].type == FileExtentType::kPrealloc);
  CHECK(fs.read_all(a) ==
        joined(joined(blocks("A"), Bytes(kBlock)), joined(blocks("C"), Bytes(kBlock))));
}

TEST_CASE_METHOD(FilesFixture, "nodatacow files are written in place until somebody shares") {
  const std::uint64_t flags = kInodeNodatacow | kInodeNodatasum;
  const FileKey a = fs.create(kTopLevelRoot, blocks("AB"), flags);
  const std::uint64_t address = map_of(fs, a).extents[0].extent_address;
  REQUIRE(fs.write(a, 0, blocks("1")).ok());
  REQUIRE(map_of(fs, a).extents.size() == 1);
  CHECK(map_of(fs, a).extents[0].extent_address == address);
  CHECK(fs.read_all(a) == blocks("1B"));
  const FileKey b = fs.create(kTopLevelRoot, {}, flags);
  REQUIRE(fs.reflink(a, 0, 2 * kBlock, b, 0).ok());
  REQUIRE(fs.write(a, 0, blocks("2")).ok());
  CHECK(map_of(fs, a).extents.size() == 2);
  CHECK(fs.read_all(a) == blocks("2B"));
  CHECK(fs.read_all(b) == blocks("1B"));
}

TEST_CASE_METHOD(FilesFixture, "inline data moves to an extent when the file grows") {
  const FileKey a = fs.create_inline(kTopLevelRoot, bytes_of("small"));
  REQUIRE(map_of(fs, a).extents.size() == 1);
  CHECK(map_of(fs, a).extents[0].type == FileExtentType::kInline);
  CHECK(map_of(fs, a).extents[0].length == 5);
  CHECK(fs.data_used() == 0);
  REQUIRE(fs.truncate(a, 3).ok());
  CHECK(fs.read_all(a) == bytes_of("sma"));
  REQUIRE(fs.write(a, 2 * kBlock, blocks("C")).ok());
  CHECK(map_of(fs, a).extents[0].type == FileExtentType::kRegular);
  CHECK(fs.read_all(a) == joined(head(bytes_of("sma"), 2 * kBlock), blocks("C")));
}

TEST_CASE_METHOD(FilesFixture, "reflink refuses what FICLONERANGE refuses") {
  const FileKey a = file(head(blocks("AB"), 5000)), b = file(blocks("ABC"));
  const FileKey nodatasum = fs.create(kTopLevelRoot, blocks("AB"), kInodeNodatasum);
  CHECK(errno_of(fs.reflink(a, 1, kBlock, b, 0)) == EINVAL);
  CHECK(errno_of(fs.reflink(a, 0, 2 * kBlock, b, 0)) == EINVAL);  // past the end
  CHECK(errno_of(fs.reflink(a, 0, 5000, b, 0)) == EINVAL);        // a tail into the inside
  CHECK(errno_of(fs.reflink(a, 0, kBlock, nodatasum, 0)) == EINVAL);
  CHECK(errno_of(fs.reflink(b, 0, 2 * kBlock, b, kBlock)) == EINVAL);
  CHECK(errno_of(fs.reflink(a, 0, kBlock, {kTopLevelRoot, 9999}, 0)) == ENOENT);
  REQUIRE(fs.reflink(a, 0, 5000, b, 2 * kBlock).ok());
  CHECK(fs.read_all(b) == joined(blocks("AB"), head(blocks("AB"), 5000)));
}

TEST_CASE_METHOD(FilesFixture, "open files read, short only at the end") {
  const FileKey a = file(head(blocks("AB"), 5000));
  const auto opened = open_file(fs, a);
  CHECK(opened->key() == a);
  Bytes buffer(4096);
  CHECK(*opened->read(1000, buffer) == 4000);
  const Bytes all = fs.read_all(a);
  CHECK(head(buffer, 4000) == Bytes(all.begin() + 1000, all.end()));
  CHECK(*opened->read(0, buffer) == 4096);
  CHECK(*opened->read(5000, buffer) == 0);
}

TEST_CASE_METHOD(FilesFixture, "a removed file lives while it is open") {
  const FileKey a = file(blocks("A"));
  auto opened = open_file(fs, a);
  REQUIRE(fs.remove(a).ok());
  CHECK(fs.files().empty());
  CHECK(map_of(fs, a).inode.links == 0);
  REQUIRE(fs.sync().ok());
  CHECK(fs.data_used() == kBlock);
  Bytes buffer(kBlock);
  CHECK(*opened->read(0, buffer) == kBlock);
  CHECK(buffer == blocks("A"));
  opened.reset();
  REQUIRE(fs.sync().ok());
  CHECK(fs.data_used() == 0);
  CHECK(errno_of(fs.open(FileHandle(a)).status()) == ESTALE);
  CHECK(errno_of(fs.remove(a)) == ENOENT);
}

TEST_CASE_METHOD(FilesFixture, "a handle with a generation opens no later file under its number") {
  const FileKey a = file(blocks("A"));
  const FileHandle first(a, map_of(fs, a).inode.generation);
  CHECK(fs.open(first).ok());
  REQUIRE(fs.sync().ok());
  REQUIRE(fs.remove(a).ok());
  REQUIRE(fs.sync().ok());
  fs.create_in_place_of(a, blocks("B"));
  CHECK(errno_of(fs.open(first).status()) == ESTALE);
  CHECK(fs.open(FileHandle(a)).ok());
  CHECK(fs.open(FileHandle(a, map_of(fs, a).inode.generation)).ok());
}

TEST_CASE_METHOD(FilesFixture, "a temporary file allocates when it is written back, not before") {
  const auto file = temporary(fs);
  REQUIRE(file->write(0, blocks("A")).ok());
  REQUIRE(file->write(kBlock, blocks("B")).ok());
  REQUIRE(file->write(4 * kBlock, bytes_of("end")).ok());
  CHECK(map_of(fs, file->key()).extents.empty());
  CHECK(map_of(fs, file->key()).inode.size == 4 * kBlock + 3);
  CHECK(map_of(fs, file->key()).inode.links == 0);
  Bytes buffer(2 * kBlock);
  CHECK(*file->read(0, buffer) == 2 * kBlock);
  CHECK(buffer == blocks("AB"));
  file->start_writeback();
  const FileMap map = map_of(fs, file->key());
  REQUIRE(map.extents.size() == 2);
  CHECK(map.extents[0].length == 2 * kBlock);
  CHECK(map.extents[1].file_offset == 4 * kBlock);
  CHECK(fs.files().empty());
}

TEST_CASE_METHOD(FilesFixture, "a temporary file is written back by sync and by dedupe") {
  const auto file = temporary(fs);
  REQUIRE(file->write(0, blocks("A")).ok());
  REQUIRE(fs.sync().ok());
  CHECK(map_of(fs, file->key()).extents.size() == 1);
  CHECK(all_extents(fs).size() == 1);
  REQUIRE(file->write(kBlock, blocks("B")).ok());
  const FileKey target = this->file(blocks("B"));
  const DedupeTarget to{open_file(fs, target), 0};
  const auto results = fs.dedupe(*file, kBlock, kBlock, {&to, 1});
  REQUIRE(results.ok());
  CHECK(is_same(results->front(), kBlock));
  CHECK(map_of(fs, target).extents[0].extent_address ==
        map_of(fs, file->key()).extents[1].extent_address);
}

TEST_CASE_METHOD(FilesFixture, "a temporary file's references drop when its last owner lets go") {
  auto file = temporary(fs);
  REQUIRE(file->write(0, blocks("AB")).ok());
  REQUIRE(fs.sync().ok());
  const FileKey key = file->key();
  auto second = file;
  file.reset();
  CHECK(map_of(fs, key).extents.size() == 1);
  second.reset();
  CHECK_FALSE(fs.file_map(key, 0, kEverything).ok());
  REQUIRE(fs.sync().ok());
  CHECK(fs.data_used() == 0);
}

TEST_CASE_METHOD(FilesFixture, "a temporary file cut inside its last block shares it as a tail") {
  const FileKey target = file(bytes_of("tail"));
  const auto source = temporary(fs);
  REQUIRE(source->write(0, bytes_of("tail, and more")).ok());
  source->start_writeback();
  const std::uint64_t address = map_of(fs, source->key()).extents[0].extent_address;
  REQUIRE(source->truncate(4).ok());
  CHECK(map_of(fs, source->key()).extents[0].extent_address == address);
  const DedupeTarget to{open_file(fs, target), 0};
  const auto results = fs.dedupe(*source, 0, 4, {&to, 1});
  REQUIRE(results.ok());
  CHECK(is_same(results->front(), 4));
  CHECK(map_of(fs, target).extents[0].extent_address == address);
  CHECK(fs.read_all(target) == bytes_of("tail"));
}

TEST_CASE("a temporary file meets ENOSPC when it is written, not when it is written back") {
  MemoryOptions options;
  options.capacity = 3 * kBlock;
  MemoryFilesystem fs(options);
  const auto file = temporary(fs);
  REQUIRE(file->write(0, blocks("AB")).ok());
  REQUIRE(file->write(0, blocks("CD")).ok());  // dirty already: needs no more
  CHECK(errno_of(file->write(2 * kBlock, blocks("EF"))) == ENOSPC);
  CHECK(errno_of(fs.write(fs.create(kTopLevelRoot), 0, blocks("EF"))) == ENOSPC);
  REQUIRE(file->truncate(kBlock).ok());
  REQUIRE(fs.write(fs.create(kTopLevelRoot), 0, blocks("EF")).ok());
  REQUIRE(fs.sync().ok());
  CHECK(fs.data_used() == 3 * kBlock);
  CHECK(fs.check().ok());
}

TEST_CASE("a temporary file that was never written back gives its reserved space up") {
  MemoryOptions options;
  options.capacity = 2 * kBlock;
  MemoryFilesystem fs(options);
  auto file = temporary(fs);
  REQUIRE(file->write(0, blocks("AB")).ok());
  file.reset();
  CHECK(fs.check().ok());
  CHECK(fs.write(fs.create(kTopLevelRoot), 0, blocks("CD")).ok());
}

TEST_CASE_METHOD(FilesFixture, "on_call is told each call, and may change files meanwhile") {
  const FileKey a = file(blocks("A")), b = file(blocks("A"));
  std::vector<std::string> calls;
  fs.set_on_call([&](std::string_view call) {
    calls.emplace_back(call);
    if (call == "dedupe") {
      REQUIRE(fs.write(b, 0, blocks("B")).ok());
      REQUIRE(fs.sync().ok());  // tells nobody
    }
  });
  CHECK(dedupe_one(fs, a, 0, kBlock, b, 0).outcome == DedupeResult::Outcome::kDiffers);
  CHECK(calls == std::vector<std::string>{"open", "open", "dedupe"});
  CHECK(fs.calls("open") == 2);
  CHECK(fs.calls("sync") == 1);
  CHECK(fs.calls("csums") == 0);
  fs.set_on_call(nullptr);
  REQUIRE(fs.sync().ok());
  CHECK(calls.size() == 3);
}

}  // namespace
}  // namespace skep::btrfs
