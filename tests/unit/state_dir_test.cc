// SPDX-License-Identifier: MIT
#include "skep/service/state_dir.h"

#include <filesystem>
#include <string>

#include "catch.h"
#include "temporary_folder.h"
#include "testing.h"

namespace skep::service {
namespace {

using skep::testing::contents_of;
using skep::testing::TemporaryFolder;
using skep::testing::uuid_of;
using skep::testing::write_file;

StateDir open_dir(const std::string& path) {
  auto dir = StateDir::open(path, uuid_of(7));
  INFO(dir.status());
  REQUIRE(dir.ok());
  return *std::move(dir);
}

Checkpoint some_checkpoint() {
  Checkpoint c;
  c.position.done_generation = 41;
  c.position.table_generation = 43;
  c.position.busy_after = 17;
  c.position.retries = {{4096, 0}, {1ULL << 40, 5}};
  c.position.unfinished = true;
  c.position.window = {41, 43};
  c.position.cursor = {5, 0x1234567000};
  c.totals = {3, 1ULL << 41, 12345};
  return c;
}

TEST_CASE("a state directory is made when it is missing, and begins empty") {
  const TemporaryFolder folder;
  const std::string path = folder.file("a/b");
  const StateDir dir = open_dir(path);
  CHECK(std::filesystem::is_directory(path));
  CHECK(dir.path() == path);
  CHECK(dir.table_path() == path + "/table");
  CHECK(dir.checkpoint().position.done_generation == 0);
  CHECK_FALSE(dir.checkpoint().position.unfinished);
  CHECK(dir.checkpoint().totals.runs == 0);
  CHECK(dir.set_aside_reason().empty());
}

TEST_CASE("the default state directory is named after the filesystem") {
  CHECK(StateDir::default_path(uuid_of(7)) == "/var/lib/skep/" + btrfs::to_string(uuid_of(7)));
}

TEST_CASE("a checkpoint comes back as it was saved") {
  const TemporaryFolder folder;
  const Checkpoint saved = some_checkpoint();
  REQUIRE(open_dir(folder.path()).save(saved).ok());
  const StateDir dir = open_dir(folder.path());
  const Checkpoint& c = dir.checkpoint();
  CHECK(dir.set_aside_reason().empty());
  CHECK(c.position.done_generation == saved.position.done_generation);
  CHECK(c.position.table_generation == saved.position.table_generation);
  CHECK(c.position.busy_after == 17);
  CHECK(c.position.retries == std::vector<dedupe::Position::Retry>{{4096, 0}, {1ULL << 40, 5}});
  CHECK(c.position.unfinished);
  CHECK(c.position.window.after == saved.position.window.after);
  CHECK(c.position.window.to == saved.position.window.to);
  CHECK(c.position.cursor.tier == saved.position.cursor.tier);
  CHECK(c.position.cursor.address == saved.position.cursor.address);
  CHECK(c.totals.runs == saved.totals.runs);
  CHECK(c.totals.bytes_freed == saved.totals.bytes_freed);
  CHECK(c.totals.bytes_copied == saved.totals.bytes_copied);
}

TEST_CASE("a checkpoint between passes has no cursor") {
  const TemporaryFolder folder;
  Checkpoint saved = some_checkpoint();
  REQUIRE(open_dir(folder.path()).save(saved).ok());
  saved.position.unfinished = false;
  saved.position.busy_after.reset();
  saved.position.retries.clear();
  saved.position.done_generation = 43;
  REQUIRE(open_dir(folder.path()).save(saved).ok());
  const Checkpoint c = open_dir(folder.path()).checkpoint();
  CHECK(c.position.done_generation == 43);
  CHECK_FALSE(c.position.unfinished);
  CHECK_FALSE(c.position.busy_after);
  CHECK(c.position.retries.empty());
  CHECK(c.position.cursor.tier == 0);
  CHECK(c.position.cursor.address == 0);
}

TEST_CASE("a checkpoint keeps the filter, when there is one") {
  using Of = dedupe::Glob::Of;
  const TemporaryFolder folder;
  Checkpoint saved = some_checkpoint();
  REQUIRE(open_dir(folder.path()).save(saved).ok());
  CHECK(contents_of(folder.file("state.json")).find("filter") == std::string::npos);
  dedupe::FilterOptions& filter = saved.position.filter;
  filter.include_subvolumes = {*dedupe::Glob::parse("/", Of::kSubvolume)};
  filter.exclude_subvolumes = {*dedupe::Glob::parse("a/*", Of::kSubvolume)};
  filter.read_only_subvolumes = false;
  filter.include_paths = {*dedupe::Glob::parse("/\xc3\xa4\n\"", Of::kPath)};
  filter.exclude_paths = {*dedupe::Glob::parse("*.c", Of::kPath),
                          *dedupe::Glob::parse("b/", Of::kPath)};
  filter.file_bytes = {1, 2};
  filter.extent_bytes = {3, 4};
  filter.within_subvolume = 257;
  REQUIRE(open_dir(folder.path()).save(saved).ok());
  CHECK(open_dir(folder.path()).checkpoint().position.filter == filter);
}

TEST_CASE("saving replaces the checkpoint whole, and leaves nothing else") {
  const TemporaryFolder folder;
  const StateDir dir = open_dir(folder.path());
  write_file(folder.file("state.json.new"), "what a crash left");
  REQUIRE(dir.save(some_checkpoint()).ok());
  REQUIRE(dir.save(some_checkpoint()).ok());
  CHECK_FALSE(std::filesystem::exists(folder.file("state.json.new")));
  CHECK(open_dir(folder.path()).checkpoint().position.done_generation == 41);
}

TEST_CASE("a checkpoint that cannot be used is set aside") {
  const TemporaryFolder folder;
  REQUIRE(open_dir(folder.path()).save(some_checkpoint()).ok());
  const std::string path = folder.file("state.json");
  std::string text = contents_of(path);
  SECTION("it is cut") { text.resize(text.size() / 2); }
  SECTION("it is empty") { text.clear(); }
  SECTION("it is something else") { text = "[1, 2]"; }
  SECTION("a field is missing") { text.replace(text.find("table_generation"), 5, "chair"); }
  SECTION("a field has another type") {
    const auto at = text.find("\"runs\": 3");
    REQUIRE(at != std::string::npos);
    text.replace(at, 9, "\"runs\": {}");
  }
  SECTION("a number is not whole") {
    const auto at = text.find("\"runs\": 3");
    REQUIRE(at != std::string::npos);
    text.replace(at, 9, "\"runs\": 3e99");
  }
  SECTION("it has another version") {
    const auto at = text.find("\"version\": 1");
    REQUIRE(at != std::string::npos);
    text.replace(at, 12, "\"version\": 2");
  }
  SECTION("it names more extents to retry than there can be") {
    const auto at = text.find("\"retries\": [");
    REQUIRE(at != std::string::npos);
    for (std::size_t i = 0; i < dedupe::limits::kRetries; ++i) text.insert(at + 12, "[4096, 0],");
  }
  write_file(path, text);
  const StateDir dir = open_dir(folder.path());
  CHECK_FALSE(dir.set_aside_reason().empty());
  CHECK(dir.checkpoint().position.done_generation == 0);
  CHECK_FALSE(dir.checkpoint().position.unfinished);
  CHECK_FALSE(std::filesystem::exists(path));
  CHECK(contents_of(path + ".old") == text);
  REQUIRE(dir.save(some_checkpoint()).ok());
  CHECK(open_dir(folder.path()).set_aside_reason().empty());
}

TEST_CASE("the checkpoint of another filesystem is refused, and left as it is") {
  const TemporaryFolder folder;
  REQUIRE(open_dir(folder.path()).save(some_checkpoint()).ok());
  const std::string before = contents_of(folder.file("state.json"));
  const auto other = StateDir::open(folder.path(), uuid_of(8));
  CHECK(absl::IsFailedPrecondition(other.status()));
  CHECK(contents_of(folder.file("state.json")) == before);
  CHECK_FALSE(std::filesystem::exists(folder.file("state.json.old")));
}

TEST_CASE("a state directory that cannot be made or written to is an error") {
  const TemporaryFolder folder;
  write_file(folder.file("file"), "in the way");
  CHECK_FALSE(StateDir::open(folder.file("file"), uuid_of(7)).ok());
  CHECK_FALSE(StateDir::open(folder.file("file/below"), uuid_of(7)).ok());
  const StateDir dir = open_dir(folder.file("gone"));
  std::filesystem::remove_all(folder.file("gone"));
  CHECK_FALSE(dir.save(some_checkpoint()).ok());
}

}  // namespace
}  // namespace skep::service
