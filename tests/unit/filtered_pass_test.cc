// SPDX-License-Identifier: MIT
//
// What a filter does to references, to plans and to whole runs.
#include <initializer_list>
#include <set>

#include "pipeline.h"
#include "skep/dedupe/engine.h"
#include "skep/dedupe/file_filter.h"
#include "skep/dedupe/rounds.h"

namespace skep::dedupe {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix
using btrfs::FileKey;
using btrfs::kFirstFreeObjectid;
using btrfs::kTopLevelRoot;

Glob path(const char* text) {
  auto glob = Glob::parse(text, Glob::Of::kPath);
  REQUIRE(glob.ok());
  return *glob;
}
Glob subvolume(const char* text) {
  auto glob = Glob::parse(text, Glob::Of::kSubvolume);
  REQUIRE(glob.ok());
  return *glob;
}

// A file whose name begins with "x" is excluded, unless a test says otherwise.
struct Filtered : Pipeline {
  Position position;

  Filtered() { options.filter.exclude_paths = {path("x*")}; }
  FileKey named(const char* name, const Bytes& data, std::uint64_t root = kTopLevelRoot) {
    const FileKey key = fs.create(root, data);
    REQUIRE(fs.rename(key, {kFirstFreeObjectid, name}).ok());
    return key;
  }
  FileKey packed(const char* name, const Bytes& data, std::uint8_t compression) {
    const FileKey key = fs.create(kTopLevelRoot, data, 0, compression);
    REQUIRE(fs.rename(key, {kFirstFreeObjectid, name}).ok());
    return key;
  }
  // Everything that run --once would do.
  void run() {
    Rounds rounds({fs, fingerprinter, *table, counters, options, stop}, position, {});
    const auto status = rounds.run();
    INFO(status);
    REQUIRE(status.ok());
    std::uint64_t extents = 0;
    for (const auto& tally : counters.verdicts) extents += tally.extents;
    CHECK(extents == counters.extents_scanned);
  }
  // Where the file's items point to.
  std::vector<std::uint64_t> places(FileKey key) {
    std::vector<std::uint64_t> out;
    for (const auto& item : map_of(fs, key).extents) out.push_back(item.extent_address);
    return out;
  }
  bool shared(FileKey a, FileKey b) { return places(a) == places(b); }
};

struct Resolving : Filtered {
  Resolved resolve(FileKey key, Resolver::Excluded excluded = Resolver::Excluded::kRefuse) {
    commit();
    FileFilter filter(fs, options.filter);
    Resolver own(fs, gate, counters, &filter);
    REQUIRE(own.refresh().ok());
    return own.resolve(extent(key), excluded);
  }
  Use use(FileKey key) {
    commit();
    FileFilter filter(fs, options.filter);
    Resolver own(fs, gate, counters, &filter);
    REQUIRE(own.refresh().ok());
    return own.use_of(extent(key).address);
  }
  btrfs::Extent extent(FileKey key) {
    auto page = fs.extents(address_of(key), address_of(key), 4096);
    REQUIRE(page.ok());
    REQUIRE(page->extents.size() == 1);
    return page->extents.front();
  }
};

TEST_CASE_METHOD(Resolving, "an extent with an excluded reference is left alone", "[filter]") {
  const Bytes data = distinct_blocks(1, 4);
  const FileKey a = named("a", data), x = named("x", {});
  CHECK(resolve(a).verdict == Verdict::kFreed);
  CHECK(use(a) == Use::kAny);
  REQUIRE(fs.reflink(a, 0, 4 * kBlock, x, 0).ok());
  CHECK(resolve(a).verdict == Verdict::kExcluded);
  CHECK(resolve(a).references.empty());
  const auto others = resolve(a, Resolver::Excluded::kDrop);
  CHECK(others.verdict == Verdict::kFreed);
  REQUIRE(others.references.size() == 1);
  CHECK(others.references[0].file == a);
  CHECK(use(a) == Use::kStays);
  REQUIRE(fs.remove(a).ok());
  CHECK(use(x) == Use::kNone);
}

TEST_CASE_METHOD(Resolving, "references that only LOGICAL_INO names are filtered too", "[filter]") {
  const std::uint64_t root = fs.add_subvolume();
  const FileKey a = named("a", distinct_blocks(1, 4), root);
  options.filter = {};
  options.filter.read_only_subvolumes = false;
  CHECK(resolve(a).verdict == Verdict::kFreed);
  fs.snapshot(root, false);
  CHECK(resolve(a).verdict == Verdict::kFreed);
  CHECK(use(a) == Use::kAny);
  fs.snapshot(root, true);
  CHECK(resolve(a).verdict == Verdict::kExcluded);
  CHECK(use(a) == Use::kStays);
  CHECK(resolve(a, Resolver::Excluded::kDrop).references.size() == 2);
}

TEST_CASE_METHOD(Resolving, "without a filter nothing is asked", "[filter]") {
  const FileKey a = named("x", distinct_blocks(1, 4));
  commit();
  CHECK(resolver.use_of(address_of(a)) == Use::kAny);
  CHECK_FALSE(resolver.excludes(a));
  CHECK(fs.calls("names") == 0);
  CHECK(fs.calls("extents") == 0);
}

TEST_CASE_METHOD(Filtered, "excluded files keep their extents, and nobody else gets them",
                 "[filter]") {
  const Bytes data = distinct_blocks(1, 8), tail = head(distinct_blocks(2, 4), 3 * kBlock + 100);
  const FileKey x1 = named("x1", data), x2 = named("x2", data), x3 = named("x3", tail);
  const FileKey a = named("a", data), b = named("b", data), c = named("c", tail);
  const FileKey d = named("d", tail);
  const FileKey x4 = named("x4", zero_blocks(4)), e = named("e", zero_blocks(4));
  const auto of_x1 = places(x1), of_x2 = places(x2), of_x3 = places(x3), of_x4 = places(x4);
  run();
  CHECK(places(x1) == of_x1);
  CHECK(places(x2) == of_x2);
  CHECK(places(x3) == of_x3);
  CHECK(places(x4) == of_x4);
  CHECK(shared(a, b));
  CHECK(shared(c, d));
  CHECK(places(e).empty());
  CHECK_FALSE(shared(a, x1));
  CHECK_FALSE(shared(a, x2));
  CHECK_FALSE(shared(c, x3));
  CHECK(left_as(Verdict::kExcluded) >= 2);
  CHECK((fs.read_all(b) == data));
}

TEST_CASE_METHOD(Filtered, "of many copies the excluded ones stand in nobody's way", "[filter]") {
  const Bytes data = distinct_blocks(1, 8);
  std::vector<FileKey> excluded, included;
  for (int i = 0; i < 30; ++i) excluded.push_back(named(("x" + std::to_string(i)).c_str(), data));
  for (int i = 0; i < 5; ++i) included.push_back(named(("a" + std::to_string(i)).c_str(), data));
  run();
  for (const FileKey key : included) CHECK(shared(key, included.front()));
  std::set<std::uint64_t> apart;
  for (const FileKey key : excluded) apart.insert(address_of(key));
  CHECK(apart.size() == 30);
  CHECK_FALSE(apart.contains(address_of(included.front())));
}

TEST_CASE_METHOD(Filtered, "an extent that cannot go is gone to, whichever comes first",
                 "[filter]") {
  const bool first = GENERATE(true, false);
  const Bytes data = distinct_blocks(1, 8);
  const FileKey early = named("early", data), late = named("late", data);
  const FileKey stays = first ? early : late, goes = first ? late : early;
  const FileKey x = named("x", {});
  REQUIRE(fs.reflink(stays, 0, data.size(), x, 0).ok());
  const auto before = places(stays);
  run();
  CHECK(places(stays) == before);
  CHECK(places(x) == before);
  CHECK(places(goes) == before);
  CHECK(counters.bytes_gone == data.size());
}

TEST_CASE_METHOD(Filtered, "a large extent that cannot go takes the place of small ones",
                 "[filter]") {
  const Bytes data = distinct_blocks(1, 32);
  const FileKey large = named("large", data), x = named("x", {});
  REQUIRE(fs.reflink(large, 0, data.size(), x, 0).ok());
  std::vector<FileKey> small;
  for (std::size_t i = 0; i < 4; ++i) {
    small.push_back(named(("s" + std::to_string(i)).c_str(), part(data, i * 8, 8)));
  }
  run();
  for (const FileKey key : small) CHECK(places(key) == places(large));
  CHECK(counters.bytes_gone == data.size());
}

TEST_CASE_METHOD(Filtered, "a file is excluded by any of its names", "[filter]") {
  const Bytes data = distinct_blocks(1, 8);
  const FileKey a = named("a", data), b = named("b", data), c = named("c", data);
  REQUIRE(fs.link(b, {kFirstFreeObjectid, "x"}).ok());
  const auto of_b = places(b);
  run();
  CHECK(shared(a, c));
  CHECK(places(b) == of_b);
  CHECK_FALSE(shared(a, b));
}

TEST_CASE_METHOD(Filtered, "what is moved in between two runs is gone to by what is new",
                 "[filter]") {
  const Bytes data = distinct_blocks(1, 8);
  const FileKey x = named("x", data);
  run();
  REQUIRE(fs.rename(x, {kFirstFreeObjectid, "a"}).ok());
  const FileKey b = named("b", data);
  run();
  CHECK(shared(x, b));
}

TEST_CASE_METHOD(Filtered, "what is moved out between two runs is left alone from then on",
                 "[filter]") {
  const Bytes data = distinct_blocks(1, 8);
  const FileKey a = named("a", data);
  run();
  REQUIRE(fs.rename(a, {kFirstFreeObjectid, "x"}).ok());
  const FileKey b = named("b", data);
  run();
  CHECK_FALSE(shared(a, b));
  CHECK(left_as(Verdict::kExcluded) == 1);
}

TEST_CASE_METHOD(Filtered, "a file that is moved out between match and plan is left alone",
                 "[filter]") {
  const Bytes data = distinct_blocks(1, 8);
  const FileKey a = named("a", data), b = named("b", data);
  const auto of_a = places(a), of_b = places(b);
  // The plan stage begins with the list of subvolumes; the match stage has asked before.
  fs.set_on_call([&, moved = false](std::string_view call) mutable {
    if (moved || call != "file_map") return;
    moved = true;
    REQUIRE(fs.rename(b, {kFirstFreeObjectid, "x"}).ok());
  });
  FileFilter filter(fs, options.filter);
  Resolver own(fs, gate, counters, &filter);
  KeeperCatalog of_own(fs, own);
  commit();
  REQUIRE(own.refresh().ok());
  const auto found = of_own.find({of_b[0], data.size(), data.size(), {}}, of_b[0], data.size());
  REQUIRE(found);  // it was moved while it was looked up
  CHECK(found->file == b);
  filter.forget();
  CHECK_FALSE(of_own.find({of_b[0], data.size(), data.size(), {}}, of_b[0], data.size()));
  CHECK(of_own.find({of_a[0], data.size(), data.size(), {}}, of_a[0], data.size()));
}

TEST_CASE_METHOD(Filtered, "a remembered tail of a file that is excluded by now serves nobody",
                 "[filter]") {
  const FileKey a = named("a", distinct_blocks(1, 1));
  FileFilter filter(fs, options.filter);
  Resolver own(fs, gate, counters, &filter);
  KeeperCatalog of_own(fs, own);
  of_own.add({address_of(a), address_of(a), {btrfs::FileHandle(a), 0, 0, kBlock, 100}});
  CHECK(of_own.find_tail(address_of(a), 100));
  REQUIRE(fs.rename(a, {kFirstFreeObjectid, "x"}).ok());
  filter.forget();
  CHECK_FALSE(of_own.find_tail(address_of(a), 100));
}

TEST_CASE_METHOD(Filtered, "nested subvolumes are excluded with the one that they are in",
                 "[filter]") {
  options.filter = {};
  options.filter.exclude_subvolumes = {subvolume("outer")};
  const std::uint64_t outer = fs.add_subvolume(), inner = fs.add_subvolume();
  REQUIRE(fs.move_subvolume(outer, kTopLevelRoot, {kFirstFreeObjectid, "outer"}).ok());
  REQUIRE(fs.move_subvolume(inner, outer, {kFirstFreeObjectid, "inner"}).ok());
  const Bytes data = distinct_blocks(1, 8);
  const FileKey a = named("a", data), b = named("b", data);
  const FileKey in_outer = named("a", data, outer), in_inner = named("a", data, inner);
  const auto of_outer = places(in_outer), of_inner = places(in_inner);
  run();
  CHECK(shared(a, b));
  CHECK(places(in_outer) == of_outer);
  CHECK(places(in_inner) == of_inner);
  CHECK(fs.calls("names") == 0);
}

TEST_CASE_METHOD(Filtered, "read-only snapshots are left alone, and what is only live is freed",
                 "[filter]") {
  options.filter = {};
  options.filter.read_only_subvolumes = false;
  const std::uint64_t root = fs.add_subvolume();
  const Bytes data = distinct_blocks(1, 8);
  const FileKey a = named("a", data, root);
  const std::uint64_t copy = fs.snapshot(root);
  const FileKey b = named("b", data, root), c = named("c", data);
  const auto of_a = places(a);
  run();
  CHECK(places({copy, a.inode}) == of_a);
  CHECK(places(a) == of_a);
  CHECK(places(b) == of_a);
  CHECK(places(c) == of_a);
}

TEST_CASE_METHOD(Filtered, "sizes of files decide", "[filter]") {
  options.filter = {};
  options.filter.file_bytes = {5 * kBlock, 20 * kBlock};
  const FileKey small1 = named("s1", distinct_blocks(1, 4)),
                small2 = named("s2", distinct_blocks(1, 4));
  const FileKey a = named("a", distinct_blocks(2, 8)), b = named("b", distinct_blocks(2, 8));
  const FileKey large1 = named("l1", distinct_blocks(3, 21)),
                large2 = named("l2", distinct_blocks(3, 21));
  run();
  CHECK_FALSE(shared(small1, small2));
  CHECK(shared(a, b));
  CHECK_FALSE(shared(large1, large2));
  CHECK(left_as(Verdict::kExcluded) == 4);
}

TEST_CASE_METHOD(Filtered,
                 "extents outside the limits neither go nor stay for others, nor fill "
                 "the table",
                 "[filter]") {
  options.filter = {};
  options.filter.extent_bytes = {5 * kBlock, 20 * kBlock};
  const FileKey small1 = named("s1", distinct_blocks(1, 4)),
                small2 = named("s2", distinct_blocks(1, 4));
  const FileKey large = named("l", distinct_blocks(2, 40));
  run();
  CHECK(table->usage().cells == 0);
  const FileKey a = named("a", part(distinct_blocks(2, 40), 0, 8));
  const FileKey b = named("b", part(distinct_blocks(2, 40), 0, 8));
  run();
  CHECK_FALSE(shared(small1, small2));
  CHECK(shared(a, b));
  CHECK(address_of(a) != address_of(large));
  CHECK(fs.calls("names") == 0);
}

TEST_CASE_METHOD(Filtered, "a filter that lets more through has everything looked at anew",
                 "[filter]") {
  const bool by_size = GENERATE(false, true);
  if (by_size) {
    options.filter = {};
    options.filter.extent_bytes = {9 * kBlock, 0};
  } else {
    options.filter.exclude_paths = {path("x*"), path("a*")};
  }
  const Bytes data = distinct_blocks(1, 8);
  const FileKey a = named("a", data), b = named("ab", data);
  run();
  CHECK_FALSE(shared(a, b));
  const std::uint64_t done = position.done_generation;
  run();
  CHECK_FALSE(shared(a, b));
  CHECK(position.done_generation >= done);
  CHECK(position.filter == options.filter);
  options.filter = {};
  run();
  CHECK(shared(a, b));
}

TEST_CASE_METHOD(Filtered, "a filter that lets less through has nothing looked at anew",
                 "[filter]") {
  options.filter = {};
  named("a", distinct_blocks(1, 8));
  run();
  const std::uint64_t scanned = counters.extents_scanned;
  options.filter.exclude_paths = {path("a")};
  run();
  CHECK(counters.extents_scanned == scanned);
  CHECK(position.filter == options.filter);
}

TEST_CASE_METHOD(Filtered, "compressed extents of excluded files are not read", "[filter]") {
  const Bytes data = distinct_blocks(1, 16);
  const FileKey x1 = packed("x1", data, 3), x2 = packed("x2", data, 3);
  const FileKey a = named("a", data), b = named("b", data);
  const auto of_x1 = places(x1), of_x2 = places(x2);
  run();
  CHECK(counters.bytes_read_contents == 0);
  CHECK(shared(a, b));
  CHECK(places(x1) == of_x1);
  CHECK(places(x2) == of_x2);
}

TEST_CASE_METHOD(Filtered, "a compressed extent is read by the references that are not excluded",
                 "[filter]") {
  const Bytes data = distinct_blocks(1, 16);
  const FileKey x = packed("x", data, 3), a = named("a", {}), b = named("b", data);
  REQUIRE(fs.reflink(x, 0, data.size(), a, 0).ok());
  const auto of_x = places(x);
  run();
  CHECK(counters.bytes_read_contents > 0);
  CHECK(places(x) == of_x);
  CHECK(places(a) == of_x);
  CHECK(places(b) == of_x);
  CHECK((fs.read_all(b) == data));
}

}  // namespace
}  // namespace skep::dedupe
