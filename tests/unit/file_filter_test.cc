// SPDX-License-Identifier: MIT
#include "skep/dedupe/file_filter.h"

#include <initializer_list>

#include "testing.h"

namespace skep::dedupe {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix
using btrfs::FileKey;
using btrfs::kFirstFreeObjectid;
using btrfs::kTopLevelRoot;

std::vector<Glob> globs(std::initializer_list<const char*> texts, Glob::Of of) {
  std::vector<Glob> out;
  for (const char* text : texts) {
    auto glob = Glob::parse(text, of);
    REQUIRE(glob.ok());
    out.push_back(*glob);
  }
  return out;
}
std::vector<Glob> paths(std::initializer_list<const char*> texts) {
  return globs(texts, Glob::Of::kPath);
}
std::vector<Glob> subvolumes(std::initializer_list<const char*> texts) {
  return globs(texts, Glob::Of::kSubvolume);
}

struct FilterFixture {
  btrfs::MemoryFilesystem fs;
  FilterOptions options;

  // home and backup are subvolumes, nested is one in home/a/, which is a folder.
  std::uint64_t home = subvolume(kTopLevelRoot, {kFirstFreeObjectid, "home"});
  std::uint64_t backup = subvolume(kTopLevelRoot, {kFirstFreeObjectid, "backup"});
  std::uint64_t home_a = fs.create_folder(home, {kFirstFreeObjectid, "a"});
  std::uint64_t cache = fs.create_folder(home, {home_a, ".cache"});
  std::uint64_t nested = subvolume(home, {home_a, "nested"});

  FileKey at_top = file(kTopLevelRoot, {kFirstFreeObjectid, "disk.vdi"});
  FileKey in_home = file(home, {home_a, "letter"});
  FileKey in_cache = file(home, {cache, "image"});
  FileKey in_nested = file(nested, {kFirstFreeObjectid, "letter"});
  FileKey in_backup = file(backup, {kFirstFreeObjectid, "letter"});

  std::uint64_t subvolume(std::uint64_t parent, const btrfs::FileName& place) {
    const std::uint64_t root = fs.add_subvolume();
    REQUIRE(fs.move_subvolume(root, parent, place).ok());
    return root;
  }
  FileKey file(std::uint64_t root, const btrfs::FileName& name, std::size_t blocks = 1) {
    const FileKey key = fs.create(root, Bytes(blocks * kBlock, std::byte{1}));
    REQUIRE(fs.rename(key, name).ok());
    return key;
  }
  // Which of the five are excluded, in their order.
  std::string excluded() {
    FileFilter filter(fs, options);
    std::string out;
    for (const FileKey key : {at_top, in_home, in_cache, in_nested, in_backup}) {
      const auto verdict = filter.excludes(key);
      REQUIRE(verdict.ok());
      out += *verdict ? 'x' : '.';
    }
    return out;
  }
};

TEST_CASE_METHOD(FilterFixture, "without patterns no file is looked up", "[filter]") {
  CHECK(excluded() == ".....");
  options.include_subvolumes = subvolumes({"home"});
  options.read_only_subvolumes = false;
  CHECK(excluded() == "x...x");
  CHECK(fs.calls("names") == 1);  // of home/a, in which the nested one lies
}

TEST_CASE_METHOD(FilterFixture, "a subvolume covers those nested in it", "[filter]") {
  options.exclude_subvolumes = subvolumes({"home"});
  CHECK(excluded() == ".xxx.");
  options.exclude_subvolumes = subvolumes({"home/a/nested"});
  CHECK(excluded() == "...x.");
  options.exclude_subvolumes = subvolumes({"nested", "b*"});
  CHECK(excluded() == "....x");
  options.exclude_subvolumes = subvolumes({"**/nested"});
  CHECK(excluded() == "...x.");
}

TEST_CASE_METHOD(FilterFixture,
                 "within a subvolume it and those nested in it are in, by its number", "[filter]") {
  options.within_subvolume = home;
  CHECK(excluded() == "x...x");
  CHECK(fs.calls("names") == 0);
  options.within_subvolume = nested;
  CHECK(excluded() == "xxx.x");
  options.within_subvolume = home;
  options.exclude_subvolumes = subvolumes({"home/a/nested"});
  CHECK(excluded() == "x..xx");
  options.exclude_subvolumes = {};
  options.include_subvolumes = subvolumes({"backup"});
  CHECK(excluded() == "xxxxx");
  options.include_subvolumes = {};
  options.within_subvolume = 9999;
  CHECK(excluded() == "xxxxx");
}

TEST_CASE_METHOD(FilterFixture, "the top level counts for itself alone", "[filter]") {
  options.exclude_subvolumes = subvolumes({"/"});
  CHECK(excluded() == "x....");
  options.exclude_subvolumes = {};
  options.include_subvolumes = subvolumes({"/", "backup"});
  CHECK(excluded() == ".xxx.");
}

TEST_CASE_METHOD(FilterFixture, "exclude wins over include", "[filter]") {
  options.include_subvolumes = subvolumes({"home", "backup"});
  options.exclude_subvolumes = subvolumes({"home"});
  CHECK(excluded() == "xxxx.");
  options.exclude_subvolumes = {};
  options.include_subvolumes = subvolumes({"home"});
  options.include_paths = paths({"letter"});
  CHECK(excluded() == "x.x.x");
  options.exclude_paths = paths({"/home/a/letter"});
  CHECK(excluded() == "xxx.x");
}

TEST_CASE_METHOD(FilterFixture, "paths begin at the top of the filesystem, across subvolumes",
                 "[filter]") {
  options.exclude_paths = paths({"/home/*/.cache", "*.vdi"});
  CHECK(excluded() == "x.x..");
  options.exclude_paths = paths({"/home"});
  CHECK(excluded() == ".xxx.");
  options.exclude_paths = paths({"nested"});
  CHECK(excluded() == "...x.");
  options.exclude_paths = {};
  options.include_paths = paths({"/home/a/"});
  CHECK(excluded() == "x...x");
  options.include_paths = paths({"**/letter"});
  CHECK(excluded() == "x.x..");
}

TEST_CASE_METHOD(FilterFixture, "a file with several names: any excludes, any includes",
                 "[filter]") {
  REQUIRE(fs.link(in_home, {cache, "letter"}).ok());
  options.exclude_paths = paths({".cache"});
  CHECK(excluded() == ".xx..");
  options.exclude_paths = {};
  options.include_paths = paths({".cache"});
  CHECK(excluded() == "x..xx");
}

TEST_CASE_METHOD(FilterFixture, "a file without a name is left out where names count", "[filter]") {
  const auto open = open_file(fs, in_backup);
  REQUIRE(fs.remove(in_backup).ok());
  options.exclude_subvolumes = subvolumes({"home"});
  CHECK(excluded() == ".xxx.");
  options.exclude_subvolumes = {};
  options.exclude_paths = paths({"other"});
  CHECK(excluded() == "....x");
}

TEST_CASE_METHOD(FilterFixture, "a file that is gone is not found", "[filter]") {
  REQUIRE(fs.remove(in_backup).ok());
  options.exclude_paths = paths({"other"});
  CHECK(absl::IsNotFound(FileFilter(fs, options).excludes(in_backup).status()));
}

TEST_CASE_METHOD(FilterFixture, "a subvolume that is gone is left out, one that is new is found",
                 "[filter]") {
  options.exclude_paths = paths({"other"});
  FileFilter filter(fs, options);
  CHECK_FALSE(*filter.excludes(in_backup));
  CHECK(*filter.excludes({4711, 257}));
  CHECK(*filter.excludes({4711, 257}));
  const std::uint64_t made_since = fs.snapshot(backup);
  const auto verdict = filter.excludes({made_since, in_backup.inode});
  REQUIRE(verdict.ok());
  CHECK_FALSE(*verdict);
}

TEST_CASE_METHOD(FilterFixture, "read-only subvolumes can be left out", "[filter]") {
  const std::uint64_t copy = fs.snapshot(home, true), other = fs.snapshot(home, false);
  options.read_only_subvolumes = false;
  FileFilter filter(fs, options);
  CHECK(*filter.excludes({copy, in_home.inode}));
  CHECK_FALSE(*filter.excludes({other, in_home.inode}));
  CHECK_FALSE(*filter.excludes(in_home));
}

TEST_CASE_METHOD(FilterFixture, "sizes of files", "[filter]") {
  const FileKey large = file(home, {home_a, "large"}, 10);
  options.file_bytes = {2 * kBlock, 0};
  CHECK(excluded() == "xxxxx");
  CHECK_FALSE(*FileFilter(fs, options).excludes(large));
  options.file_bytes = {0, 2 * kBlock};
  CHECK(excluded() == ".....");
  CHECK(*FileFilter(fs, options).excludes(large));
}

TEST_CASE_METHOD(FilterFixture, "what is moved has its new verdict", "[filter]") {
  options.exclude_paths = paths({"/home/a/.cache"});
  FileFilter filter(fs, options);
  CHECK(*filter.excludes(in_cache));
  REQUIRE(fs.rename({home, cache}, {kFirstFreeObjectid, "kept"}).ok());
  filter.forget();
  CHECK_FALSE(*filter.excludes(in_cache));
  REQUIRE(fs.rename(in_home, {cache, "letter"}).ok());
  REQUIRE(fs.rename({home, cache}, {home_a, ".cache"}).ok());
  filter.forget();
  CHECK(*filter.excludes(in_home));
}

TEST_CASE_METHOD(FilterFixture, "files and folders that lie together are looked up once",
                 "[filter]") {
  options.exclude_paths = paths({"other"});
  FileFilter filter(fs, options);
  std::vector<FileKey> keys;
  for (int i = 0; i < 20; ++i) keys.push_back(file(home, {cache, "f" + std::to_string(i)}));
  for (int i = 0; i < 3; ++i) {
    for (const FileKey key : keys) CHECK_FALSE(*filter.excludes(key));
  }
  CHECK(fs.calls("names") == 22);
  CHECK(fs.calls("subvolumes") == 1);
}

TEST_CASE_METHOD(FilterFixture, "folders without end end with an error", "[filter]") {
  REQUIRE(fs.rename({home, home_a}, {cache, "a"}).ok());
  options.exclude_paths = paths({"other"});
  CHECK(absl::IsResourceExhausted(FileFilter(fs, options).excludes(in_cache).status()));
}

TEST_CASE_METHOD(FilterFixture, "patterns that match no subvolume are named", "[filter]") {
  options.include_subvolumes = subvolumes({"home", "hoem", "/", "**/nested"});
  options.exclude_subvolumes = subvolumes({".snapshots", "backup"});
  const auto unmatched = FileFilter(fs, options).unmatched_subvolumes();
  REQUIRE(unmatched.ok());
  CHECK(*unmatched == std::vector<std::string>{"hoem", ".snapshots"});
}

TEST_CASE("a filter that lets more through is told from one that lets less", "[filter]") {
  const auto more = [](auto change_before, auto change_now) {
    FilterOptions before, now;
    change_before(before);
    change_now(now);
    return lets_more_through(before, now);
  };
  const auto nothing = [](FilterOptions&) {};
  const auto exclude_a = [](FilterOptions& f) { f.exclude_paths = paths({"a"}); };
  const auto exclude_ab = [](FilterOptions& f) { f.exclude_paths = paths({"a", "b"}); };
  const auto include_a = [](FilterOptions& f) { f.include_subvolumes = subvolumes({"a"}); };
  const auto include_ab = [](FilterOptions& f) { f.include_subvolumes = subvolumes({"b", "a"}); };
  const auto without_snapshots = [](FilterOptions& f) { f.read_only_subvolumes = false; };
  const auto some_sizes = [](FilterOptions& f) { f.file_bytes = {10, 20}; };
  const auto fewer_sizes = [](FilterOptions& f) { f.file_bytes = {11, 19}; };
  CHECK_FALSE(more(nothing, nothing));
  CHECK_FALSE(more(nothing, exclude_a));
  CHECK_FALSE(more(exclude_a, exclude_ab));
  CHECK(more(exclude_ab, exclude_a));
  CHECK(more(exclude_a, nothing));
  CHECK_FALSE(more(nothing, include_a));
  CHECK(more(include_a, include_ab));
  CHECK_FALSE(more(include_ab, include_a));
  CHECK(more(include_a, nothing));
  CHECK_FALSE(more(nothing, without_snapshots));
  CHECK(more(without_snapshots, nothing));
  CHECK_FALSE(more(nothing, some_sizes));
  CHECK_FALSE(more(some_sizes, fewer_sizes));
  CHECK(more(fewer_sizes, some_sizes));
  CHECK(more(some_sizes, nothing));
  const auto within_a = [](FilterOptions& f) { f.within_subvolume = 257; };
  const auto within_b = [](FilterOptions& f) { f.within_subvolume = 258; };
  CHECK_FALSE(more(nothing, within_a));
  CHECK_FALSE(more(within_a, within_a));
  CHECK(more(within_a, within_b));
  CHECK(more(within_a, nothing));
}

}  // namespace
}  // namespace skep::dedupe
