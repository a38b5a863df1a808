// SPDX-License-Identifier: MIT
#include "skep/dedupe/file_sharer.h"

#include <map>

#include "catch.h"
#include "fake_named_files.h"

namespace skep::dedupe {
namespace {

using btrfs::DedupeResult;
using testing::blocks;
using testing::Bytes;
using testing::FakeNamedFiles;
using testing::head;
using testing::kBlock;

struct Report final : FileReport {
  void group(const GroupResult& result) override {
    groups.push_back(result);
    for (const FileResult& file : result.files) fates[file.path] = file.fate;
    if (on_group) on_group();
  }
  void problem(const std::string& path, const std::string& why) override { problems[path] = why; }
  std::vector<GroupResult> groups;
  std::map<std::string, FileFate> fates;
  std::map<std::string, std::string> problems;
  std::function<void()> on_group;
};

struct World {
  FakeNamedFiles files;
  Report report;
  std::atomic<bool> stop = false;
  FileSharer::Options options;

  FileTotals share(const std::vector<std::vector<std::string>>& groups, bool claimed) {
    FileSharer sharer(files, options, stop, report);
    for (const auto& group : groups) sharer.share(group, claimed);
    sharer.finish();
    return sharer.totals();
  }
  FileTotals claim(const std::vector<std::string>& paths) { return share({paths}, true); }
  // One target answers so, once.
  void answer_once(const std::string& path, const DedupeResult& result, int times = 1) {
    files.fault_of = [path, result, times](const std::string& of) mutable {
      if (of != path || times-- <= 0) return std::optional<DedupeResult>();
      return std::optional(result);
    };
  }
  std::string message_of(const std::string& path) {
    for (const auto& group : report.groups) {
      for (const auto& file : group.files) {
        if (file.path == path) return file.message;
      }
    }
    return "";
  }
};

Bytes kData() { return head(blocks("abcd"), 3 * kBlock + 5); }

TEST_CASE("file sharer: a claimed group is shared in one call, to the last byte") {
  World world;
  for (const char* path : {"one", "two", "three"}) world.files.add(path, kData());
  const auto totals = world.claim({"one", "two", "three"});
  REQUIRE(world.files.calls.size() == 1);
  CHECK(world.files.calls[0].source == "one");
  CHECK(world.files.calls[0].length == 3 * kBlock + 5);
  CHECK(world.files.calls[0].targets == std::vector<std::string>{"two", "three"});
  CHECK(world.files.stored_once("one", "three"));
  CHECK(totals.shared_bytes == 2 * (3 * kBlock + 5));
  CHECK(totals.freed_bytes == 2 * 4 * kBlock);
  CHECK(totals.failed_files == 0);
}

TEST_CASE("file sharer: candidates are read, and what is equal is shared") {
  World world;
  world.files.add("one", kData());
  world.files.add("other", head(blocks("abce"), 3 * kBlock + 5));
  world.files.add("two", kData());
  world.files.add("shorter", blocks("abc"));
  world.files.add("differs", head(blocks("xbcd"), 3 * kBlock + 5));
  const auto totals = world.share({{"one", "other", "two", "shorter", "differs"}}, false);
  CHECK(totals.groups == 1);
  CHECK(world.report.fates ==
        std::map<std::string, FileFate>{{"one", FileFate::kKept}, {"two", FileFate::kShared}});
  CHECK(world.files.calls.size() == 1);
}

TEST_CASE("file sharer: what is shared already costs no call") {
  World world;
  for (const char* path : {"one", "two"}) world.files.add(path, kData());
  world.files.at("two").places = world.files.at("one").places;
  CHECK(world.claim({"one", "two"}).already_files == 1);
  CHECK(world.files.calls.empty());
}

TEST_CASE("file sharer: of compressed files the kernel is asked, for the map does not tell") {
  World world;
  for (const char* path : {"one", "two"}) world.files.add(path, kData()).packed = true;
  world.files.at("two").places = world.files.at("one").places;
  CHECK(world.claim({"one", "two"}).already_files == 1);
  CHECK(world.files.calls.size() == 1);
}

TEST_CASE("file sharer: short answers are gone on from") {
  World world;
  for (const char* path : {"one", "two"}) world.files.add(path, kData());
  world.files.most_bytes = kBlock;
  CHECK(world.claim({"one", "two"}).shared_files == 1);
  CHECK(world.files.calls.size() == 4);
  CHECK(world.files.stored_once("one", "two"));
}

TEST_CASE("file sharer: success without progress is an error, not a loop") {
  World world;
  for (const char* path : {"one", "two", "three"}) world.files.add(path, kData());
  world.answer_once("two", {DedupeResult::Outcome::kSame, 0, 0}, 1000);
  const auto totals = world.claim({"one", "two", "three"});
  CHECK(world.report.fates["two"] == FileFate::kFailed);
  CHECK(world.message_of("two") == "FIDEDUPERANGE: no progress");
  CHECK(world.report.fates["three"] == FileFate::kShared);
  CHECK(totals.failed_files == 1);
}

TEST_CASE("file sharer: what passes is asked for again, a few times") {
  for (const int error : {EAGAIN, EINTR}) {
    World world;
    for (const char* path : {"one", "two", "three"}) world.files.add(path, kData());
    world.answer_once("two", {DedupeResult::Outcome::kError, error, 0}, 2);
    CHECK(world.claim({"one", "two", "three"}).shared_files == 2);
    CHECK(world.files.calls.size() == 3);
  }
  World world;
  for (const char* path : {"one", "two"}) world.files.add(path, kData());
  world.answer_once("two", {DedupeResult::Outcome::kError, EAGAIN, 0}, 1000);
  CHECK(world.claim({"one", "two"}).failed_files == 1);
  CHECK(world.files.calls.size() == 4);
  CHECK(world.message_of("two").find("is busy") == 0);
}

TEST_CASE("file sharer: one target's error is not that of the others") {
  for (const int error : {EIO, EPERM, EINVAL, ETXTBSY, EXDEV, ENOSPC}) {
    World world;
    for (const char* path : {"one", "two", "three"}) world.files.add(path, kData());
    world.answer_once("two", {DedupeResult::Outcome::kError, error, 0});
    const auto totals = world.claim({"one", "two", "three"});
    CHECK(world.report.fates["two"] == FileFate::kFailed);
    CHECK_FALSE(world.message_of("two").empty());
    CHECK(world.files.stored_once("one", "three"));
    CHECK(totals.failed_files == 1);
  }
}

TEST_CASE("file sharer: a call that fails is the end of its group only") {
  World world;
  for (const char* path : {"a1", "a2"}) world.files.add(path, kData());
  for (const char* path : {"b1", "b2"}) world.files.add(path, blocks("xy"));
  world.files.fail_call = [](const FakeNamedFiles::Call& call) {
    return call.source == "a1" ? EOPNOTSUPP : 0;
  };
  const auto totals = world.share({{"a1", "a2"}, {"b1", "b2"}}, true);
  CHECK(world.report.fates["a2"] == FileFate::kFailed);
  CHECK(world.report.fates["b2"] == FileFate::kShared);
  CHECK(totals.failed_files == 1);
  CHECK(totals.unsupported_files == 1);
}

TEST_CASE("file sharer: what differs is told, and shared with what it equals") {
  World world;
  for (const char* path : {"one", "two"}) world.files.add(path, blocks("abc"));
  for (const char* path : {"x1", "x2"}) world.files.add(path, blocks("abx"));
  world.files.add("longer", blocks("abcd"));
  const auto totals = world.claim({"one", "x1", "longer", "two", "x2"});
  CHECK(totals.different_files == 3);
  CHECK(totals.failed_files == 0);
  CHECK(world.report.fates["longer"] == FileFate::kDiffers);
  CHECK(world.message_of("longer") == "has 16384 bytes, not 12288");
  CHECK(world.files.stored_once("one", "two"));
  CHECK(world.files.stored_once("x1", "x2"));
}

TEST_CASE("file sharer: hard links, empty and missing files") {
  World world;
  for (const char* path : {"one", "two"}) world.files.add(path, kData());
  world.files.link("one", "link");
  world.files.add("empty", {});
  const auto totals = world.claim({"one", "link", "empty", "missing", "two"});
  CHECK(totals.files == 3);
  CHECK(totals.small_files == 1);
  CHECK(totals.shared_files == 1);
  CHECK(world.report.problems ==
        std::map<std::string, std::string>{{"missing", "open: No such file or directory"}});
}

TEST_CASE("file sharer: what cannot be read is told, and the rest is shared") {
  World world;
  for (const char* path : {"one", "two", "three"}) world.files.add(path, kData());
  world.files.at("one").read_error = EIO;
  CHECK(world.share({{"one", "two", "three"}}, false).shared_files == 1);
  CHECK(world.report.problems["one"] == "pread: Input/output error");
}

TEST_CASE("file sharer: the keeper is what cannot change, else what is shared, else the first") {
  const auto keeper = [](const std::function<void(FakeNamedFiles&)>& change) {
    World world;
    for (const char* path : {"one", "two", "three"}) world.files.add(path, blocks("abc"));
    change(world.files);
    world.claim({"one", "two", "three"});
    return world.report.groups.at(0).files.at(0).path;
  };
  CHECK(keeper([](FakeNamedFiles&) {}) == "one");
  CHECK(keeper([](FakeNamedFiles& files) { files.at("two").shared = true; }) == "two");
  CHECK(keeper([](FakeNamedFiles& files) {
          files.at("two").shared = true;
          files.at("three").info.may_be_target = false;
        }) == "three");
}

TEST_CASE("file sharer: what was shared with others before does not count as freed") {
  World world;
  for (const char* path : {"one", "two"}) world.files.add(path, blocks("abc")).shared = true;
  const auto totals = world.claim({"one", "two"});
  CHECK(totals.shared_bytes == 3 * kBlock);
  CHECK(totals.freed_bytes == 0);
}

TEST_CASE("file sharer: files of two filesystems share within each") {
  World world;
  for (const char* path : {"a1", "b1", "a2", "b2", "c"}) world.files.add(path, kData());
  for (const char* path : {"b1", "b2"}) world.files.at(path).info.filesystem = 2;
  world.files.at("c").info.filesystem = 3;
  for (const bool claimed : {true, false}) {
    world.report = {};
    const auto totals = world.share({{"a1", "b1", "a2", "b2", "c"}}, claimed);
    CHECK(world.files.stored_once("a1", "a2"));
    CHECK(world.files.stored_once("b1", "b2"));
    CHECK(totals.failed_files == 1);
    CHECK(world.report.problems["c"] == "is on another filesystem than a1");
  }
}

TEST_CASE("file sharer: more targets than one call takes") {
  World world;
  std::vector<std::string> paths;
  for (int i = 0; i < 300; ++i) {
    paths.push_back(std::to_string(i));
    world.files.add(paths.back(), blocks("a"));
  }
  CHECK(world.claim(paths).shared_files == 299);
  CHECK(world.files.calls.size() == 3);
  for (const auto& call : world.files.calls) CHECK(call.targets.size() <= 127);
}

TEST_CASE("file sharer: a stop is seen between two calls") {
  World world;
  for (const char* path : {"a1", "a2", "b1", "b2"}) world.files.add(path, blocks("abc"));
  world.report.on_group = [&] { world.stop = true; };
  CHECK(world.share({{"a1", "a2"}, {"b1", "b2"}}, true).shared_files == 1);
  CHECK(world.files.calls.size() == 1);

  World amid;
  for (const char* path : {"one", "two"}) amid.files.add(path, blocks("abc"));
  amid.files.most_bytes = kBlock;
  amid.files.fail_call = [&](const FakeNamedFiles::Call&) {
    amid.stop = true;
    return 0;
  };
  const auto totals = amid.claim({"one", "two"});
  CHECK(amid.files.calls.size() == 1);
  CHECK(amid.report.fates["two"] == FileFate::kStopped);
  CHECK(totals.shared_bytes == kBlock);
}

TEST_CASE("file sharer: a dry run asks nothing of the kernel, and reads what is claimed") {
  World world;
  world.options.dry_run = true;
  for (const char* path : {"one", "two"}) world.files.add(path, kData());
  world.files.add("wrong", head(blocks("xbcd"), 3 * kBlock + 5));
  const auto totals = world.claim({"one", "wrong", "two"});
  CHECK(world.files.calls.empty());
  CHECK(totals.freed_bytes == 4 * kBlock);
  CHECK(world.report.fates["two"] == FileFate::kShared);
  CHECK(world.report.fates["wrong"] == FileFate::kDiffers);
}

TEST_CASE("file sharer: common blocks, at any block offset, with the end that both have") {
  World world;
  world.options.blocks = true;
  world.files.add("one", head(blocks("abcdef"), 5 * kBlock + 7));
  world.files.add("two", head(blocks("xycdef"), 5 * kBlock + 7));
  world.files.add("three", blocks("zwbcd"));
  const auto totals = world.share({{"one", "two", "three"}}, false);
  CHECK(totals.groups == 0);
  CHECK(totals.shared_bytes == 3 * kBlock + 7 + 3 * kBlock);
  const auto& one = world.files.at("one").places;
  CHECK(world.files.at("two").places[5] == one[5]);
  CHECK(world.files.at("three").places[2] == one[1]);
  world.report = {};
  CHECK(world.share({{"one", "two", "three"}}, false).shared_bytes == 0);
}

TEST_CASE("file sharer: a tail is not shared with the inside of a file") {
  World world;
  world.options.blocks = true;
  world.files.add("one", blocks("abcd"));
  world.files.add("two", head(blocks("xbc"), 2 * kBlock + 7));
  CHECK(world.share({{"one", "two"}}, false).shared_bytes == kBlock);
  CHECK(world.files.calls.at(0).length == kBlock);
}

TEST_CASE("file sharer: blocks of one file are shared without overlap") {
  World world;
  world.options.blocks = true;
  world.files.add("one", blocks("abababab"));
  const auto totals = world.share({{"one"}}, false);
  CHECK(totals.shared_bytes == 6 * kBlock);
  for (const auto& call : world.files.calls) CHECK(call.length <= 6 * kBlock);
}

TEST_CASE("file sharer: runs below the least are left, and blocks of zeros begin none") {
  World world;
  world.options.blocks = true;
  world.options.min_run_bytes = 3 * kBlock;
  world.files.add("one", testing::joined(Bytes(4 * kBlock), blocks("abc")));
  world.files.add("two", testing::joined(Bytes(4 * kBlock), blocks("abx")));
  world.files.add("three", testing::joined(blocks("q"), Bytes(4 * kBlock)));
  world.files.add("four", blocks("bcd"));
  CHECK(world.share({{"one", "two", "three", "four"}}, false).shared_bytes == 6 * kBlock);
  CHECK(world.report.fates.count("four") == 0);
}

TEST_CASE("file sharer: what differs when blocks are shared has changed, and is left") {
  World world;
  world.options.blocks = true;
  world.files.add("one", blocks("abcd"));
  world.files.add("two", blocks("xabc"));
  world.answer_once("two", {DedupeResult::Outcome::kDiffers, 0, 0}, 1000);
  const auto totals = world.share({{"one", "two"}}, false);
  CHECK(totals.shared_bytes == 0);
  CHECK(totals.failed_files == 0);
}

}  // namespace
}  // namespace skep::dedupe
