// SPDX-License-Identifier: MIT
//
// Snapshots of the in-memory filesystem: what shares a leaf is no reference of its own.
#include "testing.h"

namespace skep::btrfs {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix

struct SnapshotsFixture {
  MemoryFilesystem fs;
  std::uint64_t origin = fs.add_subvolume();
  FileKey a = fs.create(origin, blocks("ABCD"));
  Extent extent() {
    const auto extents = all_extents(fs);
    REQUIRE_FALSE(extents.empty());
    return extents[0];
  }
  Subvolume subvolume(std::uint64_t root) {
    const auto subvolumes = fs.subvolumes();
    for (const Subvolume& subvolume : *subvolumes) {
      if (subvolume.root == root) return subvolume;
    }
    FAIL("no root " << root);
    return {};
  }
  ~SnapshotsFixture() { CHECK(fs.check().ok()); }
};

TEST_CASE_METHOD(SnapshotsFixture, "the top-level subvolume is there from the start") {
  CHECK(subvolume(kTopLevelRoot).last_snapshot == 0);
  CHECK(fs.subvolumes()->size() == 2);
}

TEST_CASE_METHOD(SnapshotsFixture,
                 "a snapshot's shared leaf adds no reference to the extent item") {
  const std::uint64_t copy = fs.snapshot(origin);
  CHECK(extent().refs == 1);
  CHECK(extent().refs_all_inline());
  REQUIRE(extent().data_refs.size() == 1);
  CHECK(extent().data_refs[0].root == origin);
  // But LOGICAL_INO walks up the shared leaf and names both.
  const auto refs = fs.logical_ino(extent().address, false, 10);
  REQUIRE(refs.ok());
  CHECK(*refs == std::vector<LogicalRef>{{a.inode, 0, origin}, {a.inode, 0, copy}});
  CHECK(fs.read_all({copy, a.inode}) == blocks("ABCD"));
}

TEST_CASE_METHOD(SnapshotsFixture,
                 "both sides of a snapshot name its generation, and older extents too") {
  const std::uint64_t copy = fs.snapshot(origin);
  CHECK(subvolume(origin).last_snapshot == subvolume(copy).last_snapshot);
  CHECK(subvolume(copy).read_only);
  CHECK_FALSE(subvolume(origin).read_only);
  CHECK(extent().generation <= subvolume(origin).last_snapshot);
  const FileKey later = fs.create(origin, blocks("E"));
  REQUIRE(fs.sync().ok());
  const std::uint64_t address = map_of(fs, later).extents[0].extent_address;
  for (const Extent& extent : all_extents(fs)) {
    if (extent.address == address) {
      CHECK(extent.generation > subvolume(origin).last_snapshot);
    }
  }
}

TEST_CASE_METHOD(SnapshotsFixture,
                 "rewriting the snapshot's item gives it a reference of its own") {
  const std::uint64_t copy = fs.snapshot(origin, false);
  REQUIRE(fs.write({copy, a.inode}, 0, blocks("x")).ok());
  REQUIRE(fs.sync().ok());
  CHECK(extent().refs == 2);
  CHECK(extent().refs_all_inline());
  CHECK(extent().data_refs.size() == 2);
  CHECK(fs.read_all(a) == blocks("ABCD"));
  CHECK(fs.read_all({copy, a.inode}) == blocks("xBCD"));
}

TEST_CASE_METHOD(SnapshotsFixture, "rewriting the origin's item leaves a shared reference") {
  const std::uint64_t copy = fs.snapshot(origin);
  REQUIRE(fs.write(a, 0, blocks("1234")).ok());
  REQUIRE(fs.sync().ok());
  CHECK(extent().refs == 1);
  CHECK(extent().data_refs.empty());
  CHECK(extent().shared_refs);
  CHECK_FALSE(extent().refs_all_inline());
  CHECK(fs.read_all({copy, a.inode}) == blocks("ABCD"));
}

TEST_CASE_METHOD(SnapshotsFixture, "several snapshots of one leaf are one shared reference") {
  fs.snapshot(origin);
  const std::uint64_t second = fs.snapshot(origin);
  fs.snapshot(second);
  CHECK(extent().refs == 1);
  CHECK(fs.logical_ino(extent().address, false, 10)->size() == 4);
  REQUIRE(fs.write(a, 0, blocks("1234")).ok());
  REQUIRE(fs.sync().ok());
  CHECK(extent().refs == 1);
  CHECK(extent().shared_refs);
  CHECK(fs.logical_ino(extent().address, false, 10)->size() == 3);
}

TEST_CASE_METHOD(SnapshotsFixture,
                 "an item that was rewritten to the same extent shares no leaf any more") {
  const FileKey keeper = fs.create(origin, blocks("ABCD"));
  fs.snapshot(origin);
  // Away from its extent and back to it: the origin's item is a new one, the snapshot's is not.
  const std::uint64_t victim = map_of(fs, a).extents[0].extent_address;
  const FileKey aside = fs.create(origin);
  REQUIRE(fs.reflink(a, 0, 4 * kBlock, aside, 0).ok());
  CHECK(is_same(dedupe_one(fs, keeper, 0, 4 * kBlock, a, 0), 4 * kBlock));
  CHECK(is_same(dedupe_one(fs, aside, 0, 4 * kBlock, a, 0), 4 * kBlock));
  REQUIRE(fs.sync().ok());
  REQUIRE(extent().address == victim);
  CHECK(extent().refs == 3);
  CHECK(extent().data_refs.size() == 2);
  CHECK(extent().shared_refs);
}

TEST_CASE_METHOD(SnapshotsFixture, "an extent is freed when the last snapshot lets go of it") {
  const std::uint64_t copy = fs.snapshot(origin);
  REQUIRE(fs.remove(a).ok());
  REQUIRE(fs.sync().ok());
  CHECK(fs.data_used() == 4 * kBlock);
  REQUIRE(fs.remove_subvolume(copy).ok());
  REQUIRE(fs.sync().ok());
  CHECK(fs.data_used() == 0);
}

TEST_CASE_METHOD(SnapshotsFixture, "open files hold their subvolume back") {
  const std::uint64_t copy = fs.snapshot(origin);
  auto file = open_file(fs, {copy, a.inode});
  CHECK(fs.remove_subvolume(copy).code() == absl::StatusCode::kFailedPrecondition);
  file.reset();
  CHECK(fs.remove_subvolume(copy).ok());
  CHECK_FALSE(fs.remove_subvolume(copy).ok());
  CHECK_FALSE(fs.remove_subvolume(kTopLevelRoot).ok());
}

TEST_CASE_METHOD(SnapshotsFixture, "temporary files are left out of snapshots") {
  const auto file = temporary(fs);
  REQUIRE(file->write(0, blocks("T")).ok());
  const std::uint64_t copy = fs.snapshot(kTopLevelRoot);
  CHECK_FALSE(fs.file_map({copy, file->key().inode}, 0, kEverything).ok());
}

}  // namespace
}  // namespace skep::btrfs
