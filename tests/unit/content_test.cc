// SPDX-License-Identifier: MIT
//
// Extents that have to be read: how they are told, read, scanned and matched.
#include <algorithm>

#include "pipeline.h"
#include "skep/dedupe/engine.h"
#include "skep/dedupe/rounds.h"

namespace skep::dedupe {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix
using btrfs::ExtentKind;
using btrfs::FileKey;

constexpr std::uint8_t kZstd = 3, kZlib = 1;

struct Contents : Pipeline {
  FileKey packed(const Bytes& data, std::uint8_t compression = kZstd) {
    return fs.create(btrfs::kTopLevelRoot, data, 0, compression);
  }
  FileKey without_checksums(const Bytes& data) {
    return fs.create(btrfs::kTopLevelRoot, data, btrfs::kInodeNodatasum | btrfs::kInodeNodatacow);
  }
  FingerprintStage stage() { return FingerprintStage(parts()); }
  FingerprintStage::Parts parts() {
    return {fs, fingerprinter, contents, read_resolver, counters, options};
  }
  // Everything that run --once would do.
  absl::Status run() {
    Rounds rounds({fs, fingerprinter, *table, counters, options, stop}, position, {});
    return rounds.run();
  }
  Position position;
};

TEST_CASE_METHOD(Contents, "a probe tells how extents are stored, and by which files") {
  const FileKey a = packed(distinct_blocks(1, 8)), b = file(distinct_blocks(2, 8));
  const FileKey c = packed(distinct_blocks(3, 32), kZlib);
  const FileKey d = file({});
  REQUIRE(fs.fallocate(d, 0, 4 * kBlock).ok());
  commit();
  const auto extents = all_extents(fs);
  const auto probed = ExtentProbe(fs).probe(extents, false);
  REQUIRE(probed.size() == 4);
  for (std::size_t i = 0; i < probed.size(); ++i) {
    INFO(i);
    REQUIRE(probed[i].known);
    const FileKey of = probed[i].references.at(0).file;
    CHECK(probed[i].compression == (of == a ? kZstd : of == c ? kZlib : 0));
    CHECK(probed[i].preallocated == (of == d));
    CHECK(probed[i].content_length == (of == c ? 32 : of == d ? 4 : 8) * kBlock);
  }
  CHECK(fs.calls("file_extents") == 1);  // neighbours share a search
  CHECK((fs.read_all(b) == distinct_blocks(2, 8)));
}

TEST_CASE_METHOD(Contents, "an extent that is used from its middle on is told all the same") {
  const FileKey a = packed(distinct_blocks(1, 8));
  const FileKey b = file({});
  REQUIRE(fs.reflink(a, 5 * kBlock, 3 * kBlock, b, 0).ok());
  REQUIRE(fs.remove(a).ok());
  commit();
  const auto probed = ExtentProbe(fs).probe(all_extents(fs), false);
  REQUIRE(probed.size() == 1);
  CHECK(probed[0].known);
  CHECK(probed[0].compression == kZstd);
  CHECK(probed[0].references.at(0).extent_offset == 5 * kBlock);
}

TEST_CASE_METHOD(Contents,
                 "all items of what is compressed are told, also those behind its length") {
  const FileKey a = packed(distinct_blocks(1, 32));
  REQUIRE(fs.write(a, 4 * kBlock, distinct_blocks(2, 1)).ok());
  REQUIRE(fs.write(a, 20 * kBlock, distinct_blocks(3, 1)).ok());
  commit();
  const auto extents = all_extents(fs);
  const auto probed = ExtentProbe(fs).probe(extents, false);
  const auto whole = std::find_if(probed.begin(), probed.end(), [](const auto& one) {
    return one.content_length == 32 * kBlock;
  });
  REQUIRE(whole != probed.end());
  CHECK(extents.at(static_cast<std::size_t>(whole - probed.begin())).length < 20 * kBlock);
  CHECK(whole->references.size() == 3);
}

struct CountingFilesystem : btrfs::MemoryFilesystem {
  std::uint64_t items = 0;
  absl::Status file_extents(std::uint64_t root, btrfs::ItemPlace first, btrfs::ItemPlace last,
                            FileExtentVisitor visit) override {
    return MemoryFilesystem::file_extents(root, first, last, [&](auto inode, const auto& item) {
      ++items;
      visit(inode, item);
    });
  }
};

TEST_CASE("blocks far from each other are looked up without what lies between") {
  CountingFilesystem fs;
  const FileKey a = fs.create(btrfs::kTopLevelRoot, {});
  for (std::uint64_t i = 0; i < 400; ++i) {
    REQUIRE(fs.write(a, 2 * i * kBlock, distinct_blocks(i, 1)).ok());
  }
  REQUIRE(fs.sync().ok());
  const auto extents = all_extents(fs);
  REQUIRE(extents.size() == 400);
  const std::vector<btrfs::Extent> some = {extents[10], extents[200], extents[390]};
  for (const auto& one : ExtentProbe(fs).probe(some, false)) CHECK(one.known);
  CHECK(fs.items == 3);
}

TEST_CASE("blocks of two long files are looked up without the rest of the first") {
  CountingFilesystem fs;
  const FileKey a = fs.create(btrfs::kTopLevelRoot, {}), b = fs.create(btrfs::kTopLevelRoot, {});
  for (std::uint64_t i = 0; i < 200; ++i) {
    REQUIRE(fs.write(a, 2 * i * kBlock, distinct_blocks(i, 1)).ok());
    REQUIRE(fs.write(b, 2 * i * kBlock, distinct_blocks(1000 + i, 1)).ok());
  }
  REQUIRE(fs.sync().ok());
  const auto extents = all_extents(fs);
  REQUIRE(extents.size() == 400);
  const std::vector<btrfs::Extent> some(extents.begin() + 200, extents.begin() + 204);
  for (const auto& one : ExtentProbe(fs).probe(some, false)) CHECK(one.known);
  CHECK(fs.items == 4);
}

TEST_CASE_METHOD(Contents, "what only snapshots refer to is not known to a probe") {
  const FileKey a = packed(distinct_blocks(1, 8));
  fs.snapshot(btrfs::kTopLevelRoot);
  REQUIRE(fs.remove(a).ok());
  commit();
  CHECK_FALSE(ExtentProbe(fs).probe(all_extents(fs), false).at(0).known);
  std::vector<FingerprintedExtent> found;
  std::vector<ToRead> to_read;
  auto fingerprint = stage();
  REQUIRE(fingerprint.describe(all_extents(fs), true, found, to_read).ok());
  CHECK(found.at(0).kind == ExtentKind{kZstd, false});
  CHECK(to_read.size() == 1);
}

TEST_CASE_METHOD(Contents, "what is read has the fingerprints that its checksums would give") {
  const Bytes data = distinct_blocks(1, 12);
  packed(data);
  commit();
  std::vector<FingerprintedExtent> found;
  std::vector<ToRead> to_read;
  auto fingerprint = stage();
  REQUIRE(fingerprint.describe(all_extents(fs), false, found, to_read).ok());
  REQUIRE(to_read.size() == 1);
  CHECK(found[0].stored.size() == 6);
  fingerprint.read_contents(to_read, ContentReader::CachePolicy::kDrop, [] { return false; });
  REQUIRE(found[0].blocks.size() == 12);
  for (std::size_t i = 0; i < 12; ++i) {
    CHECK(found[0].blocks[i] == fingerprinter.from_block(part(data, i, 1), false));
  }
  CHECK(counters.bytes_read_contents == 12 * kBlock);
  CHECK(contents.at(found[0].extent.address, 11) == found[0].blocks[11]);
}

TEST_CASE_METHOD(Contents, "parts that no file refers to have no fingerprint, tails are padded") {
  Bytes data = distinct_blocks(1, 8);
  data.resize(7 * kBlock + 100);
  const FileKey a = packed(data);
  REQUIRE(fs.write(a, 2 * kBlock, distinct_blocks(9, 2)).ok());
  commit();
  std::vector<FingerprintedExtent> found;
  std::vector<ToRead> to_read;
  auto fingerprint = stage();
  REQUIRE(fingerprint.describe(all_extents(fs), false, found, to_read).ok());
  REQUIRE(to_read.size() == 1);
  fingerprint.read_contents(to_read, ContentReader::CachePolicy::kKeep, [] { return false; });
  const auto& blocks = to_read[0].extent->blocks;
  CHECK(blocks.at(1) == fingerprinter.from_block(part(data, 1, 1), false));
  CHECK(blocks.at(2) == index::kNoFingerprint);
  CHECK(blocks.at(3) == index::kNoFingerprint);
  data.resize(8 * kBlock);
  CHECK(blocks.at(7) == fingerprinter.from_block(part(data, 7, 1), false));
}

TEST_CASE_METHOD(Contents, "what cannot be read is counted, and stays without fingerprint") {
  packed(distinct_blocks(1, 8));
  commit();
  std::vector<FingerprintedExtent> found;
  std::vector<ToRead> to_read;
  auto fingerprint = stage();
  REQUIRE(fingerprint.describe(all_extents(fs), false, found, to_read).ok());
  btrfs::FaultPlan faults;
  faults.io_error = 1;
  fs.set_faults(faults);
  fingerprint.read_contents(to_read, ContentReader::CachePolicy::kDrop, [] { return false; });
  fs.set_faults({});
  CHECK(counters.contents_unreadable == 1);
  CHECK(std::all_of(found[0].blocks.begin(), found[0].blocks.end(),
                    [](auto f) { return f == index::kNoFingerprint; }));
}

TEST_CASE_METHOD(Contents, "a scan marks where something is stored twice, and nothing else") {
  const Bytes data = distinct_blocks(1, 16);
  const FileKey a = packed(data), b = packed(part(data, 3, 10)), c = packed(distinct_blocks(2, 16));
  for (int i = 0; i < 40; ++i) file(distinct_blocks(100 + static_cast<std::uint64_t>(i), 32));
  const FileKey d = packed(distinct_blocks(3, 16));
  auto fingerprint = stage();
  ContentScan scan{fs, fingerprint, fingerprinter, *table, contents, marks, &unjudged, counters};
  std::vector<std::uint64_t> reached;
  const Window window{0, commit()};
  REQUIRE(scan.run(
                  window, 0, [] { return false; }, [&](std::uint64_t at) { reached.push_back(at); })
              .ok());
  CHECK(marks.near(address_of(a), kBlock, 0));
  CHECK(marks.near(address_of(b), kBlock, 0));
  CHECK_FALSE(marks.near(address_of(d), kBlock, 0));
  CHECK(marks.near(address_of(d), kBlock, 1ULL << 30));
  CHECK_FALSE(reached.empty());
  CHECK(counters.bytes_read_contents == (16 + 10 + 16 + 16) * kBlock);
  CHECK_FALSE(table->find(fingerprinter.from_block(part(data, 3, 1), false)).empty());
  (void)c;
}

TEST_CASE_METHOD(Contents, "a scan that is stopped says so") {
  packed(distinct_blocks(1, 16));
  auto fingerprint = stage();
  ContentScan scan{fs, fingerprint, fingerprinter, *table, contents, marks, &unjudged, counters};
  const auto status = scan.run(
      {0, commit()}, 0, [] { return true; }, [](std::uint64_t) {});
  CHECK(absl::IsCancelled(status));
}

TEST_CASE_METHOD(Contents, "extents compressed alike are shared without reading them") {
  options.depth = Depth::kQuick;
  const Bytes data = distinct_blocks(1, 16);
  const FileKey a = packed(data), b = packed(data);
  REQUIRE(run().ok());
  CHECK(counters.bytes_gone == 8 * kBlock);
  CHECK(counters.bytes_read_contents == 0);
  CHECK(address_of(a) == address_of(b));
  CHECK((fs.read_all(b) == data));
}

TEST_CASE_METHOD(Contents, "what begins alike and is not alike is left by a quick run") {
  options.depth = Depth::kQuick;
  Bytes data = distinct_blocks(1, 16);
  packed(data);
  data.back() = std::byte{77};
  packed(data);
  REQUIRE(run().ok());
  CHECK(counters.bytes_gone == 0);
  CHECK(left_as(Verdict::kCompressed) == 2);
}

TEST_CASE_METHOD(Contents, "deep, a part at any offset is found in a compressed extent") {
  const std::size_t offset = GENERATE(0, 1, 7, 20);
  const Bytes data = distinct_blocks(1, 32);
  const FileKey a = packed(data), b = packed(part(data, offset, 12));
  commit();
  const std::uint64_t before = fs.data_used();
  REQUIRE(run().ok());
  CHECK(before - fs.data_used() == 6 * kBlock);
  CHECK(counters.bytes_deep == 6 * kBlock);
  CHECK(address_of(a) == address_of(b));
  CHECK((fs.read_all(b) == part(data, offset, 12)));
}

TEST_CASE_METHOD(Contents, "of a compressed and an uncompressed copy the compressed one stays") {
  const bool compressed_first = GENERATE(false, true);
  const Bytes data = distinct_blocks(1, 64);
  FileKey plain, small;
  if (compressed_first) small = packed(data);
  plain = file(data);
  if (!compressed_first) small = packed(data);
  commit();
  const std::uint64_t stays = address_of(small);
  REQUIRE(run().ok());
  CHECK(fs.data_used() == 32 * kBlock);
  CHECK(address_of(small) == stays);
  CHECK(address_of(plain) == stays);
  CHECK((fs.read_all(plain) == data));
}

TEST_CASE_METHOD(Contents, "remnants of a compressed extent are compressed in the same way") {
  const Bytes data = distinct_blocks(1, 32);
  packed(data, kZlib);
  const FileKey b = packed(joined(part(data, 0, 24), distinct_blocks(5, 8)), kZlib);
  commit();
  const std::uint64_t before = fs.data_used();
  REQUIRE(run().ok());
  CHECK(counters.bytes_gone == 16 * kBlock);
  CHECK(counters.bytes_copied == 4 * kBlock);
  CHECK(before - fs.data_used() == 12 * kBlock);
  const auto map = map_of(fs, b);
  CHECK(std::all_of(map.extents.begin(), map.extents.end(),
                    [](const auto& item) { return item.compression == kZlib; }));
}

TEST_CASE_METHOD(Contents, "without the option extents without checksums are left") {
  const Bytes data = distinct_blocks(1, 8);
  without_checksums(data);
  without_checksums(data);
  REQUIRE(run().ok());
  CHECK(counters.bytes_gone == 0);
  CHECK(left_as(Verdict::kNoChecksum) == 2);
}

TEST_CASE_METHOD(Contents, "extents without checksums are shared among themselves alone") {
  options.nodatasum = true;
  const Bytes data = distinct_blocks(1, 8);
  const FileKey a = without_checksums(data), b = without_checksums(data), c = file(data);
  const FileKey d = without_checksums(joined(part(data, 0, 6), distinct_blocks(2, 2)));
  REQUIRE(run().ok());
  CHECK(counters.not_gone == 0);
  CHECK(address_of(a) == address_of(b));
  CHECK(address_of(a) == address_of(d));
  CHECK(address_of(c) != address_of(a));
  CHECK(counters.bytes_gone == 16 * kBlock);
  CHECK((fs.read_all(d) == joined(part(data, 0, 6), distinct_blocks(2, 2))));
}

TEST_CASE_METHOD(Contents, "preallocated space is left, also with nodatasum") {
  options.nodatasum = true;
  for (int i = 0; i < 2; ++i) {
    const FileKey a = without_checksums({});
    REQUIRE(fs.fallocate(a, 0, 8 * kBlock).ok());
  }
  REQUIRE(run().ok());
  CHECK(counters.bytes_gone == 0);
  CHECK(left_as(Verdict::kNoChecksum) == 2);
}

TEST_CASE_METHOD(Contents, "nodatasum asked for later looks at what was passed by") {
  const Bytes data = distinct_blocks(1, 8);
  without_checksums(data);
  without_checksums(data);
  REQUIRE(run().ok());
  options.nodatasum = true;
  REQUIRE(run().ok());
  CHECK(counters.bytes_gone == 8 * kBlock);
}

TEST_CASE_METHOD(Contents, "a quick run leaves the deep part to a later one") {
  const Bytes data = distinct_blocks(1, 32);
  packed(data);
  packed(part(data, 3, 12));
  options.depth = Depth::kQuick;
  REQUIRE(run().ok());
  CHECK(counters.bytes_gone == 0);
  options.depth = Depth::kDeep;
  REQUIRE(run().ok());
  CHECK(counters.bytes_gone == 6 * kBlock);
}

TEST_CASE_METHOD(Contents, "a table that was lost is refilled with old contents, counted once") {
  const Bytes data = distinct_blocks(1, 32);
  const FileKey a = packed(data);
  packed(distinct_blocks(2, 32));
  REQUIRE(run().ok());
  const std::uint64_t scanned = counters.extents_scanned;
  CHECK(scanned == 2);
  index::TableOptions table_options;
  table_options.size_bytes = 1 << 20;
  auto opened = index::Table::open(folder.file("another"), table_options);
  REQUIRE(opened.ok());
  table = *std::move(opened);
  const FileKey c = file(part(data, 4, 20));
  REQUIRE(run().ok());
  CHECK(counters.bytes_gone == 20 * kBlock);
  CHECK(address_of(c) == address_of(a));
  CHECK(counters.extents_scanned == scanned + 1);
}

TEST_CASE("fingerprints from the data alone find what checksums find") {
  const Bytes data = distinct_blocks(1, 40);
  std::uint64_t used[2] = {};
  for (const auto kind : {index::FingerprintKind::kCsum, index::FingerprintKind::kData}) {
    Contents c;
    const index::Fingerprinter fingerprinter(c.fs.info(), kind);
    const FileKey a = c.file(data), b = c.file(part(data, 10, 20)), d = c.packed(part(data, 2, 30));
    c.file(distinct_blocks(2, 50));
    Rounds rounds({c.fs, fingerprinter, *c.table, c.counters, c.options, c.stop}, c.position, {});
    REQUIRE(rounds.run().ok());
    CHECK((c.fs.read_all(a) == data));
    CHECK((c.fs.read_all(b) == part(data, 10, 20)));
    CHECK((c.fs.read_all(d) == part(data, 2, 30)));
    CHECK(c.counters.bytes_gone > 0);
    used[kind == index::FingerprintKind::kData] = c.fs.data_used();
  }
  CHECK(used[0] == used[1]);
}

}  // namespace
}  // namespace skep::dedupe
