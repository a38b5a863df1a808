// SPDX-License-Identifier: MIT
//
// FIDEDUPERANGE as the in-memory filesystem answers it: each rule that was measured on the kernel.
#include <cerrno>

#include "testing.h"

namespace skep::btrfs {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix

struct DedupeFixture {
  MemoryFilesystem fs;
  FileKey file(const Bytes& bytes) { return fs.create(kTopLevelRoot, bytes); }
  std::uint64_t address(FileKey key, std::size_t item = 0) {
    return map_of(fs, key).extents.at(item).extent_address;
  }
  ~DedupeFixture() { CHECK(fs.check().ok()); }
};

TEST_CASE_METHOD(DedupeFixture,
                 "dedupe of equal blocks frees the target's extent at the next sync") {
  const FileKey a = file(blocks("ABCD")), b = file(blocks("ABCD"));
  REQUIRE(fs.sync().ok());
  const std::uint64_t victim = address(b);
  CHECK(is_same(dedupe_one(fs, a, 0, 4 * kBlock, b, 0), 4 * kBlock));
  CHECK(address(b) == address(a));
  CHECK(all_extents(fs).size() == 2);
  CHECK(fs.data_used() == 8 * kBlock);
  REQUIRE(fs.sync().ok());
  const auto extents = all_extents(fs);
  REQUIRE(extents.size() == 1);
  CHECK(extents[0].refs == 2);
  CHECK(extents[0].refs_all_inline());
  CHECK(fs.data_used() == 4 * kBlock);
  CHECK(fs.logical_ino(victim, false, 10).status().code() == absl::StatusCode::kNotFound);
  CHECK(fs.read_all(b) == blocks("ABCD"));
}

TEST_CASE_METHOD(DedupeFixture, "dedupe of a part leaves the rest and the whole extent in place") {
  const FileKey a = file(blocks("xBCy")), b = file(blocks("ABCD"));
  const std::uint64_t victim = address(b);
  CHECK(is_same(dedupe_one(fs, a, kBlock, 2 * kBlock, b, kBlock), 2 * kBlock));
  const FileMap map = map_of(fs, b);
  REQUIRE(map.extents.size() == 3);
  CHECK(map.extents[0].extent_address == victim);
  CHECK(map.extents[0].length == kBlock);
  CHECK(map.extents[1].extent_address == address(a));
  CHECK(map.extents[1].extent_offset == kBlock);
  CHECK(map.extents[2].extent_address == victim);
  CHECK(map.extents[2].extent_offset == 3 * kBlock);
  REQUIRE(fs.sync().ok());
  CHECK(fs.data_used() == 8 * kBlock);
  CHECK(fs.read_all(b) == blocks("ABCD"));
}

TEST_CASE_METHOD(DedupeFixture, "dedupe of differing bytes shares nothing") {
  const FileKey a = file(blocks("ABCD")), b = file(blocks("ABCx"));
  const std::uint64_t before = address(b);
  const DedupeResult result = dedupe_one(fs, a, 0, 4 * kBlock, b, 0);
  CHECK(result.outcome == DedupeResult::Outcome::kDiffers);
  CHECK(result.bytes == 0);
  CHECK(address(b) == before);
}

TEST_CASE_METHOD(DedupeFixture,
                 "dedupe shares a tail block when both ranges end with their files") {
  const Bytes bytes = head(blocks("AB"), 5000);
  const FileKey a = file(bytes), b = file(bytes);
  CHECK(is_same(dedupe_one(fs, a, 0, 5000, b, 0), 5000));
  CHECK(map_of(fs, b).extents.size() == 1);
  CHECK(address(b) == address(a));
  REQUIRE(fs.sync().ok());
  CHECK(fs.data_used() == 2 * kBlock);
}

TEST_CASE_METHOD(DedupeFixture,
                 "dedupe of a tail with the inside of a file claims it, and leaves it") {
  const FileKey a = file(blocks("ABC")), b = file(head(blocks("AB"), 5000));
  const std::uint64_t victim = address(b);
  CHECK(is_same(dedupe_one(fs, a, 0, 5000, b, 0), 5000));
  const FileMap map = map_of(fs, b);
  REQUIRE(map.extents.size() == 2);
  CHECK(map.extents[0].extent_address == address(a));
  CHECK(map.extents[1].extent_address == victim);
  CHECK(map.extents[1].file_offset == kBlock);
  REQUIRE(fs.sync().ok());
  CHECK(fs.data_used() == 5 * kBlock);  // the victim lives on for its tail
}

TEST_CASE_METHOD(DedupeFixture, "dedupe does not compare the part of a block that it cuts off") {
  const FileKey a = file(blocks("ABC")), b = file(joined(blocks("A"), Bytes(904, std::byte{9})));
  CHECK(is_same(dedupe_one(fs, a, 0, 5000, b, 0), 5000));
  CHECK(address(b) == address(a));
}

TEST_CASE_METHOD(DedupeFixture,
                 "dedupe of a tail alone that cannot be shared claims it all the same") {
  const FileKey a = file(blocks("AB")), b = file(head(blocks("A"), 100));
  const std::uint64_t before = address(b);
  CHECK(is_same(dedupe_one(fs, a, 0, 100, b, 0), 100));
  CHECK(address(b) == before);
}

TEST_CASE_METHOD(DedupeFixture,
                 "dedupe of a source range past the end fails as a whole with EINVAL") {
  const FileKey a = file(head(blocks("AB"), 5000)), b = file(blocks("AB"));
  const auto from = open_file(fs, a);
  const DedupeTarget to{open_file(fs, b), 0};
  const auto results = fs.dedupe(*from, 0, 2 * kBlock, {&to, 1});
  REQUIRE_FALSE(results.ok());
  CHECK(errno_of(results.status()) == EINVAL);
}

TEST_CASE_METHOD(DedupeFixture, "dedupe of a target range past the end is EINVAL for that target") {
  const FileKey a = file(blocks("AB")), b = file(head(blocks("AB"), 5000)), c = file(blocks("AB"));
  const auto from = open_file(fs, a);
  const std::vector<DedupeTarget> to{{open_file(fs, b), 0}, {open_file(fs, c), 0}};
  const auto results = fs.dedupe(*from, 0, 2 * kBlock, to);
  REQUIRE(results.ok());
  CHECK(is_error((*results)[0], EINVAL));
  CHECK(is_same((*results)[1], 2 * kBlock));
}

TEST_CASE_METHOD(DedupeFixture, "dedupe of unaligned offsets is EINVAL") {
  const FileKey a = file(blocks("AAAA")), b = file(blocks("AAAA"));
  CHECK(is_error(dedupe_one(fs, a, 512, kBlock, b, 0), EINVAL));
  CHECK(is_error(dedupe_one(fs, a, 0, kBlock, b, 512), EINVAL));
}

TEST_CASE_METHOD(DedupeFixture, "dedupe into an immutable file is EPERM, from one it works") {
  const FileKey a = file(blocks("A")), b = file(blocks("A"));
  REQUIRE(fs.set_flags(b, kInodeImmutable).ok());
  CHECK(is_error(dedupe_one(fs, a, 0, kBlock, b, 0), EPERM));
  CHECK(is_same(dedupe_one(fs, b, 0, kBlock, a, 0), kBlock));
}

TEST_CASE_METHOD(DedupeFixture, "dedupe between nodatasum and checksummed files is EINVAL") {
  const FileKey a = file(blocks("A")), b = fs.create(kTopLevelRoot, blocks("A"), kInodeNodatasum),
                c = fs.create(kTopLevelRoot, blocks("A"), kInodeNodatasum);
  CHECK(is_error(dedupe_one(fs, a, 0, kBlock, b, 0), EINVAL));
  CHECK(is_error(dedupe_one(fs, b, 0, kBlock, a, 0), EINVAL));
  CHECK(is_same(dedupe_one(fs, b, 0, kBlock, c, 0), kBlock));
}

TEST_CASE_METHOD(DedupeFixture, "dedupe into a read-only snapshot works") {
  const FileKey a = file(blocks("AB")), b = file(blocks("AB"));
  const std::uint64_t root = fs.snapshot(kTopLevelRoot);
  CHECK(is_same(dedupe_one(fs, a, 0, 2 * kBlock, {root, b.inode}, 0), 2 * kBlock));
  CHECK(address({root, b.inode}) == address(a));
}

TEST_CASE_METHOD(DedupeFixture, "dedupe with 127 targets works, with 128 it is ENOMEM") {
  const FileKey a = file(blocks("A"));
  const auto from = open_file(fs, a);
  std::vector<DedupeTarget> targets;
  for (int i = 0; i < 128; ++i) targets.push_back({open_file(fs, file(blocks("A"))), 0});
  const auto refused = fs.dedupe(*from, 0, kBlock, targets);
  REQUIRE_FALSE(refused.ok());
  CHECK(errno_of(refused.status()) == ENOMEM);
  targets.pop_back();
  const auto results = fs.dedupe(*from, 0, kBlock, targets);
  REQUIRE(results.ok());
  REQUIRE(results->size() == 127);
  for (const DedupeResult& result : *results) CHECK(is_same(result, kBlock));
  REQUIRE(fs.sync().ok());
  CHECK(fs.extent_count() == 2);
}

TEST_CASE_METHOD(DedupeFixture,
                 "dedupe of overlapping ranges of one file is EINVAL, of others works") {
  const FileKey a = file(blocks("AAAA"));
  CHECK(is_error(dedupe_one(fs, a, 0, 2 * kBlock, a, kBlock), EINVAL));
  CHECK(is_same(dedupe_one(fs, a, 0, 2 * kBlock, a, 2 * kBlock), 2 * kBlock));
  const FileMap map = map_of(fs, a);
  REQUIRE(map.extents.size() == 2);
  CHECK(map.extents[1].extent_offset == 0);
}

TEST_CASE_METHOD(DedupeFixture, "dedupe of length 0 succeeds with 0 bytes") {
  const FileKey a = file(blocks("A")), b = file(blocks("A"));
  CHECK(is_same(dedupe_one(fs, a, 0, 0, b, 0), 0));
}

TEST_CASE_METHOD(DedupeFixture, "dedupe of zeroes with a hole makes a hole") {
  const FileKey b = file(joined(blocks("A"), Bytes(3 * kBlock)));
  const auto sparse = temporary(fs);
  REQUIRE(sparse->truncate(1 << 20).ok());
  const DedupeTarget to{open_file(fs, b), kBlock};
  const auto results = fs.dedupe(*sparse, 0, 3 * kBlock, {&to, 1});
  REQUIRE(results.ok());
  CHECK(is_same(results->front(), 3 * kBlock));
  const FileMap map = map_of(fs, b);
  REQUIRE(map.extents.size() == 1);
  CHECK(map.extents[0].length == kBlock);
  CHECK(fs.read_all(b) == joined(blocks("A"), Bytes(3 * kBlock)));
}

TEST_CASE_METHOD(DedupeFixture, "dedupe keeps the compression of the source") {
  const FileKey a = fs.create(kTopLevelRoot, blocks("ABCD"), 0, 3), b = file(blocks("ABCD"));
  CHECK(is_same(dedupe_one(fs, a, 0, 4 * kBlock, b, 0), 4 * kBlock));
  const FileMap map = map_of(fs, b);
  REQUIRE(map.extents.size() == 1);
  CHECK(map.extents[0].compression == 3);
  CHECK(map.extents[0].extent_length == 2 * kBlock);
  REQUIRE(fs.sync().ok());
  CHECK(fs.data_used() == 2 * kBlock);
}

TEST_CASE_METHOD(DedupeFixture, "dedupe from an inline file copies the data, into one drops it") {
  const Bytes bytes = bytes_of("a few bytes");
  const FileKey small = fs.create_inline(kTopLevelRoot, bytes), other = file(bytes);
  CHECK(is_same(dedupe_one(fs, small, 0, bytes.size(), other, 0), bytes.size()));
  CHECK(map_of(fs, other).extents.at(0).type == FileExtentType::kInline);
  CHECK(fs.read_all(other) == bytes);
  const FileKey regular = file(bytes);
  CHECK(is_same(dedupe_one(fs, regular, 0, bytes.size(), small, 0), bytes.size()));
  CHECK(address(small) == address(regular));
  CHECK(fs.read_all(small) == bytes);
}

TEST_CASE_METHOD(DedupeFixture, "dedupe of what is shared already changes nothing") {
  const FileKey a = file(blocks("AB")), b = file(blocks("AB"));
  CHECK(is_same(dedupe_one(fs, a, 0, 2 * kBlock, b, 0), 2 * kBlock));
  CHECK(is_same(dedupe_one(fs, a, 0, 2 * kBlock, b, 0), 2 * kBlock));
  REQUIRE(fs.sync().ok());
  REQUIRE(all_extents(fs).size() == 1);
  CHECK(all_extents(fs)[0].refs == 2);
}

TEST_CASE("check() reports that logical_ino and dedupe overlapped") {
  MemoryFilesystem fs;
  const FileKey a = fs.create(kTopLevelRoot, blocks("A")),
                b = fs.create(kTopLevelRoot, blocks("A"));
  REQUIRE(fs.sync().ok());
  const std::uint64_t address = map_of(fs, a).extents[0].extent_address;
  REQUIRE(fs.logical_ino(address, false, 10).ok());
  CHECK(is_same(dedupe_one(fs, a, 0, kBlock, b, 0), kBlock));
  CHECK(fs.check().ok());
  fs.set_on_call([&](std::string_view call) {
    if (call == "dedupe") fs.logical_ino(address, false, 10).IgnoreError();
  });
  dedupe_one(fs, a, 0, kBlock, b, 0);
  CHECK(fs.check().code() == absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace skep::btrfs
