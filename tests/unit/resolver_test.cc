// SPDX-License-Identifier: MIT
#include "skep/dedupe/resolver.h"

#include <algorithm>

#include "testing.h"

namespace skep::dedupe {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix
using btrfs::Extent;
using btrfs::FileKey;

struct ResolvingFixture {
  btrfs::MemoryFilesystem fs;
  PhaseGate gate;
  Counters counters;
  Resolver resolver{fs, gate, counters};
  std::uint64_t root = fs.add_subvolume();

  FileKey file(const Bytes& data, std::uint64_t flags = 0, std::uint8_t compression = 0) {
    return fs.create(root, data, flags, compression);
  }
  Extent extent_of(FileKey key) {
    REQUIRE(fs.sync().ok());
    const auto map = map_of(fs, key);
    REQUIRE_FALSE(map.extents.empty());
    for (const Extent& extent : all_extents(fs)) {
      if (extent.address == map.extents.front().extent_address) return extent;
    }
    FAIL("no extent");
    return {};
  }
  Resolved resolve(const Extent& extent) {
    REQUIRE(resolver.refresh().ok());
    return resolver.resolve(extent);
  }
};

TEST_CASE_METHOD(ResolvingFixture, "references that the extent item names need no LOGICAL_INO") {
  const FileKey a = file(head(blocks("ABCD"), 3 * kBlock + 50));
  const FileKey b = file({});
  REQUIRE(fs.reflink(a, kBlock, 2 * kBlock, b, 0).ok());
  const auto resolved = resolve(extent_of(a));
  CHECK(resolved.verdict == Verdict::kFreed);
  CHECK(fs.calls("logical_ino") == 0);
  CHECK(counters.references_inline == 1);
  CHECK(counters.references_searched == 0);
  REQUIRE(resolved.references.size() == 2);
  const Reference& of_a = resolved.references[resolved.references[0].file == a ? 0 : 1];
  const Reference& of_b = resolved.references[resolved.references[0].file == a ? 1 : 0];
  CHECK(of_a.file == a);
  CHECK(of_a.file_offset == 0);
  CHECK(of_a.extent_offset == 0);
  CHECK(of_a.length == 4 * kBlock);
  CHECK(of_a.file_size == 3 * kBlock + 50);
  CHECK(of_b.file == b);
  CHECK(of_b.file_offset == 0);
  CHECK(of_b.extent_offset == kBlock);
  CHECK(of_b.length == 2 * kBlock);
}

TEST_CASE_METHOD(ResolvingFixture,
                 "a file that uses an extent in several places is named for each") {
  const FileKey a = file(blocks("ABCD"));
  REQUIRE(fs.reflink(a, 0, kBlock, a, 6 * kBlock).ok());
  REQUIRE(fs.write(a, 2 * kBlock, blocks("x")).ok());
  const auto resolved = resolve(extent_of(a));
  CHECK(resolved.verdict == Verdict::kFreed);
  CHECK(fs.calls("logical_ino") == 0);
  std::vector<std::uint64_t> offsets;
  for (const auto& reference : resolved.references) offsets.push_back(reference.file_offset);
  std::sort(offsets.begin(), offsets.end());
  CHECK(offsets == std::vector<std::uint64_t>{0, 3 * kBlock, 6 * kBlock});
}

TEST_CASE_METHOD(ResolvingFixture, "after a snapshot LOGICAL_INO names the references in it") {
  const FileKey a = file(blocks("ABCD"));
  const std::uint64_t copy = fs.snapshot(root);
  const auto extent = extent_of(a);
  const auto resolved = resolve(extent);
  CHECK(resolver.needs_logical_ino(extent));
  CHECK(resolved.verdict == Verdict::kFreed);
  CHECK(fs.calls("logical_ino") == 1);
  CHECK(counters.references_searched == 1);
  REQUIRE(resolved.references.size() == 2);
  CHECK(resolved.references[0].file == a);
  CHECK(resolved.references[1].file == FileKey{copy, a.inode});
  for (const Reference& reference : resolved.references) {
    CHECK(reference.file_offset == 0);
    CHECK(reference.length == 4 * kBlock);
  }
}

TEST_CASE_METHOD(ResolvingFixture,
                 "extents newer than the last snapshot need no LOGICAL_INO again") {
  fs.snapshot(root);
  const FileKey a = file(blocks("ABCD"));
  const auto resolved = resolve(extent_of(a));
  CHECK(resolved.verdict == Verdict::kFreed);
  CHECK(resolved.references.size() == 1);
  CHECK(fs.calls("logical_ino") == 0);
}

TEST_CASE_METHOD(ResolvingFixture, "extents of files that must be left alone say why") {
  const bool snapshotted = GENERATE(false, true);
  INFO(snapshotted);
  const FileKey a = file(blocks("ABCD"), btrfs::kInodeImmutable);
  if (snapshotted) fs.snapshot(root);
  CHECK(resolve(extent_of(a)).verdict == Verdict::kImmutable);
}

TEST_CASE_METHOD(ResolvingFixture, "a deleted file that is still open is left to go by itself") {
  const FileKey deleted = file(blocks("AB"));
  const FileKey stays = file({});
  REQUIRE(fs.reflink(deleted, 0, kBlock, stays, 0).ok());
  const auto handle = fs.open(btrfs::FileHandle(deleted));
  REQUIRE(handle.ok());
  REQUIRE(fs.remove(deleted).ok());
  const Extent extent = extent_of(deleted);
  CHECK(resolve(extent).verdict == Verdict::kUnreferenced);
  // As a keeper it is read through the other file.
  const auto readable = resolver.inline_references(extent, 10);
  REQUIRE(readable.references.size() == 1);
  CHECK(readable.references.front().file == stays);
  // The same, as LOGICAL_INO tells it.
  fs.snapshot(root);
  CHECK(resolve(extent_of(stays)).verdict == Verdict::kUnreferenced);
}

TEST_CASE_METHOD(ResolvingFixture,
                 "references say that an extent belongs to files without checksums") {
  const std::uint64_t flags = GENERATE(as<std::uint64_t>{}, btrfs::kInodeNodatasum,
                                       btrfs::kInodeNodatasum | btrfs::kInodeNodatacow);
  const bool snapshotted = GENERATE(false, true);
  INFO(flags << ' ' << snapshotted);
  const FileKey a = file(blocks("ABCD"), flags);
  if (snapshotted) fs.snapshot(root);
  const auto resolved = resolve(extent_of(a));
  CHECK(resolved.verdict == Verdict::kFreed);
  CHECK(resolved.kind == btrfs::ExtentKind{0, true});
}

TEST_CASE_METHOD(ResolvingFixture,
                 "an extent of files with and of files without checksums is left") {
  const bool snapshotted = GENERATE(false, true);
  const FileKey a = file(blocks("ABCD"));
  const FileKey b = file({});
  REQUIRE(fs.reflink(a, 0, 4 * kBlock, b, 0).ok());
  REQUIRE(fs.set_flags(b, btrfs::kInodeNodatasum).ok());
  if (snapshotted) fs.snapshot(root);
  CHECK(resolve(extent_of(a)).verdict == Verdict::kNodatasum);
}

TEST_CASE_METHOD(ResolvingFixture, "one immutable file among others is enough") {
  const FileKey a = file(blocks("ABCD"));
  const FileKey b = file({});
  REQUIRE(fs.reflink(a, 0, 4 * kBlock, b, 0).ok());
  REQUIRE(fs.set_flags(b, btrfs::kInodeImmutable).ok());
  CHECK(resolve(extent_of(a)).verdict == Verdict::kImmutable);
}

TEST_CASE_METHOD(ResolvingFixture,
                 "preallocated extents are left, also when they are written in part") {
  const FileKey a = file({});
  REQUIRE(fs.fallocate(a, 0, 4 * kBlock).ok());
  CHECK(resolve(extent_of(a)).verdict == Verdict::kPreallocated);
  REQUIRE(fs.write(a, 0, blocks("A")).ok());
  CHECK(resolve(extent_of(a)).verdict == Verdict::kPreallocated);
}

TEST_CASE_METHOD(ResolvingFixture,
                 "references say that an extent is compressed, and how long it unpacks") {
  const FileKey a = file(blocks("ABCDEFGH"), 0, 3);
  const bool snapshotted = GENERATE(false, true);
  if (snapshotted) fs.snapshot(root);
  const auto extent = extent_of(a);
  const auto resolved = resolve(extent);
  CHECK(resolved.verdict == Verdict::kFreed);
  CHECK(resolved.kind == btrfs::ExtentKind{3, false});
  CHECK(extent.length == 4 * kBlock);
  CHECK(resolved.content_length == 8 * kBlock);
  REQUIRE(resolved.references.size() == (snapshotted ? 2 : 1));
  CHECK(resolved.references[0].length == 8 * kBlock);
}

TEST_CASE_METHOD(ResolvingFixture, "an extent whose file was written meanwhile has changed") {
  const FileKey a = file(blocks("ABCD"));
  const auto extent = extent_of(a);
  SECTION("in part, so that there are more references") {
    REQUIRE(fs.write(a, kBlock, blocks("x")).ok());
  }
  SECTION("whole") { REQUIRE(fs.write(a, 0, blocks("wxyz")).ok()); }
  SECTION("it was removed") { REQUIRE(fs.remove(a).ok()); }
  CHECK(resolve(extent).verdict == Verdict::kChanged);
}

TEST_CASE_METHOD(ResolvingFixture, "an extent that nobody refers to any more is going by itself") {
  const FileKey a = file(blocks("ABCD"));
  const std::uint64_t copy = fs.snapshot(root);
  const auto extent = extent_of(a);
  REQUIRE(fs.remove(a).ok());
  REQUIRE(fs.remove_subvolume(copy).ok());
  SECTION("before the commit") {}
  SECTION("after it") { REQUIRE(fs.sync().ok()); }
  CHECK(resolve(extent).verdict == Verdict::kUnreferenced);
}

TEST_CASE_METHOD(ResolvingFixture, "the files that hold one block are named for it alone") {
  const FileKey a = file(blocks("ABCD"));
  const FileKey b = file({});
  REQUIRE(fs.reflink(a, kBlock, kBlock, b, 0).ok());
  const auto extent = extent_of(a);
  REQUIRE(resolver.refresh().ok());
  CHECK(resolver.references_at(extent, false, 0).references.size() == 1);
  const auto both = resolver.references_at(extent, false, kBlock).references;
  CHECK(both.size() == 2);
  CHECK(std::any_of(both.begin(), both.end(), [&](const auto& r) { return r.file == b; }));
  REQUIRE(fs.set_flags(b, btrfs::kInodeImmutable).ok());  // a source all the same
  CHECK(resolver.references_at(extent, false, kBlock).references.size() == 2);
  REQUIRE(fs.set_flags(b, btrfs::kInodeNodatasum).ok());
  CHECK(resolver.references_at(extent, false, kBlock).references.size() == 1);
}

}  // namespace
}  // namespace skep::dedupe
