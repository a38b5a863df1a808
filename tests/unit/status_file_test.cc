// SPDX-License-Identifier: MIT
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <filesystem>
#include <limits>
#include <string>

#include "catch.h"
#include "skep/btrfs/status.h"
#include "skep/service/status.h"
#include "temporary_folder.h"

namespace skep::service {
namespace {

using skep::testing::contents_of;
using skep::testing::TemporaryFolder;
using skep::testing::write_file;

constexpr char kUuid[] = "0e7d8c9a-2b41-4e0a-9f7e-3d1c5b6a7f80";

// Each field with a value of its own.
Status some_status() {
  Status s;
  s.filesystem = kUuid;
  s.mount = "/mnt/data";
  s.version = "1.2.3";
  s.pid = 4321;
  s.started = 1700000001;
  s.written = 1700000002;
  s.phase = "working";
  s.pass = "deep_read";
  s.progress = 0.25;
  s.work_done = 1ULL << 40;
  s.work_total = 1ULL << 42;
  s.seconds_left = 12.5;
  s.read_rate = 1e8;
  s.scan_rate = 2e9;
  s.hold = "io_pressure";
  s.hold_text = "others wait for storage: 12 % of the time";
  s.slowed = true;
  s.since_start = {11, 12, 13, 14, 15, 16};
  s.since_ever = {21, 22, 23, 24, 25, std::numeric_limits<std::uint64_t>::max()};
  s.generation = 31;
  s.done_generation = 32;
  s.deep_generation = 33;
  s.table_bytes = 34;
  s.table_cells = 35;
  s.table_capacity = 36;
  s.table_level = 7;
  s.last_error = "/mnt/data: \"EIO\"\n";
  s.last_error_time = 1700000003;
  return s;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

TEST_CASE("every field of a status comes back from its JSON", "[status]") {
  const Status before = some_status();
  const auto after = parse_status(status_json(before));
  INFO(after.status());
  REQUIRE(after.ok());
  // The text names each field, so equal texts are equal values.
  CHECK(status_json(*after) == status_json(before));
  CHECK(after->filesystem == kUuid);
  CHECK(after->pid == 4321);
  CHECK(after->seconds_left == 12.5);
  CHECK(after->slowed);
  CHECK(after->since_start.extents_scanned == 11);
  CHECK(after->since_start.freed == 14);
  CHECK(after->since_ever.read == std::numeric_limits<std::uint64_t>::max());
  CHECK(after->table_level == 7);
  CHECK(after->last_error == before.last_error);
}

TEST_CASE("a time left that is not known is null", "[status]") {
  Status s = some_status();
  s.seconds_left.reset();
  const std::string json = status_json(s);
  CHECK(json.find("\"seconds_left\": null") != std::string::npos);
  const auto after = parse_status(json);
  REQUIRE(after.ok());
  CHECK_FALSE(after->seconds_left);
}

TEST_CASE("numbers that JSON cannot say become 0, and bytes that are no text are replaced",
          "[status]") {
  Status s = some_status();
  s.progress = std::nan("");
  s.read_rate = std::numeric_limits<double>::infinity();
  s.seconds_left = -std::numeric_limits<double>::infinity();
  s.mount = "/mnt/\xff";
  const auto after = parse_status(status_json(s));
  REQUIRE(after.ok());
  CHECK(after->progress == 0);
  CHECK(after->read_rate == 0);
  CHECK(after->seconds_left == 0.0);
}

TEST_CASE("fields that a status does not have keep their defaults, others are passed over",
          "[status]") {
  const auto s =
      parse_status(std::string(R"({"version": 1, "phase": "idle", "later": [1], "filesystem": ")") +
                   kUuid + "\"}");
  INFO(s.status());
  REQUIRE(s.ok());
  CHECK(s->phase == "idle");
  CHECK(s->pid == 0);
  CHECK(s->table_cells == 0);
}

TEST_CASE("what is no status is refused", "[status]") {
  const std::string good = status_json(some_status());
  std::string text;
  SECTION("nothing") {}
  SECTION("cut") { text = good.substr(0, good.size() / 2); }
  SECTION("an array") { text = "[1]"; }
  SECTION("no version") { text = replaced(good, "\"version\"", "\"verse\""); }
  SECTION("a later version") { text = replaced(good, "\"version\": 1", "\"version\": 2"); }
  SECTION("no filesystem") { text = replaced(good, kUuid, "../../etc"); }
  SECTION("no phase") { text = replaced(good, "\"phase\"", "\"chase\""); }
  SECTION("a negative size") { text = replaced(good, "\"cells\": 35", "\"cells\": -35"); }
  SECTION("a fraction") { text = replaced(good, "\"cells\": 35", "\"cells\": 3.5"); }
  SECTION("a number as text") { text = replaced(good, "\"pid\": 4321", "\"pid\": \"4321\""); }
  SECTION("a pid out of range") { text = replaced(good, "4321", "9223372036854775808"); }
  SECTION("a level out of range") {
    text = replaced(good, "\"sampling_level\": 7", "\"sampling_level\": 4294967296");
  }
  SECTION("a number without end") { text = replaced(good, "0.25", "1e999"); }
  const auto s = parse_status(text);
  INFO(text);
  CHECK(absl::IsInvalidArgument(s.status()));
}

TEST_CASE("a status is held when it waits, not when it only rests between batches", "[status]") {
  Status s = some_status();
  CHECK_FALSE(is_held(s));
  s.slowed = false;
  CHECK(is_held(s));
  s.hold.clear();
  CHECK_FALSE(is_held(s));
  s.phase = "held";
  CHECK(is_held(s));
}

TEST_CASE("run directories are named after their filesystem", "[status]") {
  btrfs::Uuid uuid;
  uuid.fill(7);
  CHECK(default_run_dir(uuid) == "/run/skep/" + btrfs::to_string(uuid));
}

TEST_CASE("a status is written whole, for all to read", "[status]") {
  const TemporaryFolder folder;
  const mode_t before = umask(077);
  const auto written = write_status(folder.path(), some_status());
  umask(before);
  INFO(written);
  REQUIRE(written.ok());
  struct stat st {};
  REQUIRE(stat(folder.file("status.json").c_str(), &st) == 0);
  CHECK((st.st_mode & 07777) == 0644);
  CHECK_FALSE(std::filesystem::exists(folder.file("status.json.new")));
  const auto read = read_status(folder.path());
  INFO(read.status());
  REQUIRE(read.ok());
  CHECK(status_json(*read) == status_json(some_status()));
}

TEST_CASE("writing follows no link, and leaves nothing where it fails", "[status]") {
  const TemporaryFolder folder;
  write_file(folder.file("precious"), "mine");
  SECTION("a link under the new file's name") {
    std::filesystem::create_symlink(folder.file("precious"), folder.file("status.json.new"));
    CHECK(write_status(folder.path(), some_status()).ok());
  }
  SECTION("a link under the file's name") {
    std::filesystem::create_symlink(folder.file("precious"), folder.file("status.json"));
    CHECK(write_status(folder.path(), some_status()).ok());
  }
  SECTION("a directory under the file's name") {
    std::filesystem::create_directory(folder.file("status.json"));
    CHECK_FALSE(write_status(folder.path(), some_status()).ok());
  }
  CHECK(contents_of(folder.file("precious")) == "mine");
  CHECK_FALSE(std::filesystem::exists(folder.file("status.json.new")));
}

TEST_CASE("reading tells a missing status from a damaged one", "[status]") {
  const TemporaryFolder folder;
  CHECK(errno_of(read_status(folder.path()).status()) == ENOENT);
  write_file(folder.file("status.json"), "{");
  const auto damaged = read_status(folder.path());
  CHECK(absl::IsInvalidArgument(damaged.status()));
  CHECK(message_of(damaged.status()).find(folder.file("status.json")) == 0);
  write_file(folder.file("status.json"), std::string(1 << 20, ' ') + status_json(some_status()));
  CHECK_FALSE(read_status(folder.path()).ok());
}

TEST_CASE("the lock tells whether an instance lives", "[status]") {
  const TemporaryFolder folder;
  const std::string dir = folder.file("a/b");
  CHECK_FALSE(is_running(dir));
  {
    const auto lock = lock_run_dir(dir);
    INFO(lock.status());
    REQUIRE(lock.ok());
    CHECK(is_running(dir));
    const auto second = lock_run_dir(dir);
    CHECK(absl::IsFailedPrecondition(second.status()));
  }
  CHECK_FALSE(is_running(dir));
  CHECK(lock_run_dir(dir).ok());
}

TEST_CASE("this test is no skep", "[status]") {
  CHECK_FALSE(is_skep(getpid()));
  CHECK_FALSE(is_skep(0));
  CHECK_FALSE(is_skep(-1));
}

}  // namespace
}  // namespace skep::service
