// SPDX-License-Identifier: MIT
#include <sys/file.h>

#include <filesystem>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "skep/index/table_file.h"
#include "table_testing.h"

namespace skep::index {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix

// The n-th of a series without repetition.
Fingerprint fingerprint_of(std::uint64_t n) { return mix(n + 1); }
std::uint64_t address_of(std::uint64_t n) { return (n + 1) * kBlock; }

// Puts elements [from, to) of the series in.
void fill(const std::string& path, std::uint64_t from, std::uint64_t to) {
  auto options = options_of(kOneBucket);
  options.any_size = true;
  const auto table = open_table(path, options);
  REQUIRE(table->reopened());
  for (std::uint64_t n = from; n < to; ++n) table->insert(fingerprint_of(n), address_of(n));
}

void make(const std::string& path, std::uint64_t buckets, std::uint64_t cells) {
  { open_table(path, options_of(bytes_of_buckets(buckets))); }
  fill(path, 0, cells);
}

TableResize resize(const std::string& path, std::uint64_t buckets) {
  auto done = resize_table(path, bytes_of_buckets(buckets));
  INFO(done.status());
  REQUIRE(done.ok());
  CHECK(done->to_bytes == bytes_of_buckets(buckets));
  CHECK(std::filesystem::file_size(path) == bytes_of_buckets(buckets));
  CHECK_FALSE(std::filesystem::exists(path + ".new"));
  return *done;
}

std::uint64_t count_found(const std::string& path, std::uint64_t from, std::uint64_t to) {
  auto options = options_of(kOneBucket);
  options.any_size = true;
  const auto table = open_table(path, options);
  REQUIRE(table->reopened());
  std::uint64_t found = 0;
  for (std::uint64_t n = from; n < to; ++n) {
    found += holds(*table, fingerprint_of(n), address_of(n));
  }
  return found;
}

void check_sound(const std::string& path) {
  const auto check = check_table(path);
  REQUIRE(check.ok());
  CHECK(check->damaged_buckets == 0);
}

std::vector<std::uint64_t> former_sizes(const std::string& path) {
  const auto info = inspect_table(path);
  REQUIRE(info.ok());
  return info->former_sizes;
}

TEST_CASE("a table that shrinks and has room enough keeps all") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  make(path, 40, 5000);
  const auto done = resize(path, GENERATE(39U, 27U, 20U, 13U));
  CHECK(done.before.cells == 5000);
  CHECK(done.after.cells == 5000);
  CHECK(done.after.level == 0);
  CHECK(count_found(path, 0, 5000) == 5000);
  check_sound(path);
}

TEST_CASE("a table that shrinks below what is in it keeps exactly what is sampled") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  make(path, 40, 9000);
  const auto done = resize(path, GENERATE(17U, 10U, 7U, 3U));
  REQUIRE(done.after.level > 0);
  CHECK(done.after.cells * 2 > done.after.capacity / 3);
  std::uint64_t sampled = 0, found = 0;
  auto options = options_of(kOneBucket);
  options.any_size = true;
  {
    const auto table = open_table(path, options);
    for (std::uint64_t n = 0; n < 9000; ++n) {
      const bool expected = fingerprint_of(n) % (1U << done.after.level) == 0;
      CHECK(table->sampled(fingerprint_of(n)) == expected);
      CHECK(holds(*table, fingerprint_of(n), address_of(n)) == expected);
      sampled += expected;
    }
    found = table->usage().cells;
  }
  CHECK(found == sampled);
  check_sound(path);
}

TEST_CASE("cells that lie in one bucket only are thinned out until they fit") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  // All high halves are below 2^30: buckets 0 to 3 of 16, 0 of 4. Few for the table, too many for
  // a bucket.
  {
    const auto table = open_table(path, options_of(bytes_of_buckets(16)));
    for (std::uint64_t n = 0; n < 1600; ++n) {
      table->insert(fingerprint_of(n) & ~(3ULL << 62), address_of(n));
    }
    REQUIRE(table->usage().cells == 1600);
  }
  const auto done = resize(path, 4);
  CHECK(done.after.level == 2);
  CHECK(done.after.cells > 350);
  check_sound(path);
}

TEST_CASE("a table that grows keeps every cell, and is dense again") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  make(path, 10, 4000);
  const auto done = resize(path, GENERATE(11U, 15U, 20U, 97U, 5000U));
  CHECK(done.after.cells == 4000);
  CHECK(count_found(path, 0, 4000) == 4000);
  fill(path, 4000, 4400);
  CHECK(count_found(path, 0, 4400) == 4400);
  check_sound(path);
}

TEST_CASE("the level falls to 0 when a table grows") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  make(path, 2, 5000);
  const auto done = resize(path, 30);
  CHECK(done.before.level == 3);
  CHECK(done.after.level == 0);
  CHECK(done.after.cells == done.before.cells);
  CHECK(count_found(path, 0, 5000) == done.before.cells);
}

TEST_CASE("a table that grows spreads its cells evenly") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  make(path, 4, 1700);
  resize(path, 150);
  const auto info = inspect_table(path);
  REQUIRE(info.ok());
  CHECK(info->median_fill >= 9);
  CHECK(info->most_fill < 30);  // 11 on average
}

TEST_CASE("a table that grows, shrinks and grows still has all that fitted in between") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  make(path, 16, 2000);
  resize(path, 61);
  fill(path, 2000, 4000);
  resize(path, 14);
  fill(path, 4000, 5000);
  resize(path, 200);
  fill(path, 5000, 6000);
  CHECK(former_sizes(path) == std::vector<std::uint64_t>{bytes_of_buckets(16), bytes_of_buckets(61),
                                                         bytes_of_buckets(14)});
  CHECK(count_found(path, 0, 6000) == 6000);
  check_sound(path);
}

TEST_CASE("more resizings than the header lists lose old cells, not new ones") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  make(path, 3, 900);
  std::uint64_t buckets = 3;
  for (std::uint64_t i = 0; i < Table::kMaxFormer; ++i) resize(path, buckets = buckets * 3 / 2 + 1);
  fill(path, 900, 1800);
  CHECK(count_found(path, 0, 1800) == 1800);
  for (int i = 0; i < 3; ++i) resize(path, buckets = buckets * 3 / 2 + 1);
  CHECK(former_sizes(path).size() == Table::kMaxFormer);
  CHECK(count_found(path, 900, 1800) == 900);
  const std::uint64_t old = count_found(path, 0, 900);
  CHECK(old < 900);
  check_sound(path);
}

TEST_CASE("former sizes that no cell needs are not listed") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  SECTION("the table is empty") {
    make(path, 10, 0);
    resize(path, 33);
    CHECK(former_sizes(path).empty());
  }
  SECTION("the size is the same") {
    make(path, 10, 100);
    const std::string before = contents_of(path);
    resize(path, 10);
    CHECK(contents_of(path) == before);
  }
  SECTION("the new number of buckets divides the old one") {
    make(path, 30, 3000);
    resize(path, 10);
    CHECK(former_sizes(path).empty());
    CHECK(count_found(path, 0, 3000) == 3000);
  }
  SECTION("it grows by a whole factor and shrinks again") {
    make(path, 10, 3000);
    resize(path, 30);
    CHECK(former_sizes(path) == std::vector<std::uint64_t>{bytes_of_buckets(10)});
    resize(path, 10);
    CHECK(count_found(path, 0, 3000) == 3000);
  }
}

TEST_CASE("opening a table with another size resizes it, and says so") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  make(path, 10, 3000);
  {
    const auto table = open_table(path, options_of(bytes_of_buckets(40)));
    CHECK(table->reopened());
    CHECK(table->resized_from_bytes() == bytes_of_buckets(10));
    CHECK(table->set_aside_reason().empty());
    CHECK(table->usage().cells == 3000);
    CHECK(holds(*table, fingerprint_of(2999), address_of(2999)));
  }
  CHECK(count_found(path, 0, 3000) == 3000);
  CHECK_FALSE(std::filesystem::exists(path + ".old"));
  CHECK_FALSE(std::filesystem::exists(path + ".new"));
}

TEST_CASE("a cell in a former place is not put in twice, and can be erased and promoted") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  make(path, 5, 1000);
  resize(path, 64);
  const auto table = open_table(path, options_of(bytes_of_buckets(64)));
  for (std::uint64_t n = 0; n < 1000; ++n) table->insert(fingerprint_of(n), address_of(n));
  CHECK(table->usage().cells == 1000);
  for (std::uint64_t n = 0; n < 1000; ++n) {
    table->insert(fingerprint_of(n), address_of(5000 + n));  // at home: found first
    table->promote(fingerprint_of(n), address_of(n));
    CHECK(table->find(fingerprint_of(n)).front() == address_of(n));
  }
  CHECK(table->usage().cells == 2000);
  for (std::uint64_t n = 0; n < 1000; ++n) {
    table->erase(fingerprint_of(n), address_of(n));
    CHECK_FALSE(holds(*table, fingerprint_of(n), address_of(n)));
    CHECK(holds(*table, fingerprint_of(n), address_of(5000 + n)));
  }
  CHECK(table->usage().cells == 1000);
}

TEST_CASE("a table.new that a crash has left is written over") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  make(path, 10, 1000);
  write_file(path + ".new", std::string(100'000, 'x'));
  resize(path, 20);
  CHECK(count_found(path, 0, 1000) == 1000);
}

TEST_CASE("a table that cannot be resized is left as it is") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  make(path, 10, 1000);
  const std::string before = contents_of(path);
  SECTION("the size is out of range") {
    CHECK(absl::IsOutOfRange(resize_table(path, 4096).status()));
    CHECK(absl::IsOutOfRange(resize_table(path, Table::kMaxBytes + 1).status()));
  }
  SECTION("it belongs to another filesystem") {
    btrfs::Uuid other{};
    CHECK(absl::IsFailedPrecondition(resize_table(path, 1 << 20, &other).status()));
  }
  SECTION("the new file cannot be made") {
    REQUIRE(std::filesystem::create_directory(path + ".new"));
    CHECK_FALSE(resize_table(path, 1 << 20).ok());
  }
  CHECK(contents_of(path) == before);
}

TEST_CASE("a table that is open is in use") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  auto table = open_table(path, options_of(kOneBucket));
  for (const auto& status :
       {Table::open(path, options_of(kOneBucket)).status(), inspect_table(path).status(),
        check_table(path).status(), resize_table(path, 1 << 20).status()}) {
    CHECK(absl::IsUnavailable(status));
    CHECK(message_of(status) == path + ": in use by a running skep; stop it first");
  }
  table.reset();
  CHECK(inspect_table(path).ok());
  CHECK(resize_table(path, 1 << 20).ok());
}

TEST_CASE("the table of another filesystem that is in use is not set aside") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  const auto table = open_table(path, options_of(kOneBucket));
  auto other = options_of(kOneBucket);
  other.filesystem.fill(8);
  CHECK(absl::IsUnavailable(Table::open(path, other).status()));
  CHECK_FALSE(std::filesystem::exists(path + ".old"));
}

// Against a multimap. Levels stay 0: the table is always large enough for all.
TEST_CASE("random operations and resizings agree with a model") {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    INFO("seed " << seed);
    const TemporaryFolder folder;
    const std::string path = folder.file("table");
    std::mt19937_64 random(seed);
    std::uint64_t buckets = 4 + random() % 30;
    auto table = open_table(path, options_of(bytes_of_buckets(buckets)));
    std::multimap<Fingerprint, std::uint64_t> model;
    for (int step = 0; step < 6000; ++step) {
      // 5 resizings: with the size at the beginning, 6 sizes.
      if (step % 1000 == 999 && step < 5999) {
        buckets = 4 + random() % 60;
        table.reset();
        table = open_table(path, options_of(bytes_of_buckets(buckets)));
        REQUIRE(table->reopened());
      }
      const Fingerprint fingerprint = fingerprint_of(random() % 500);
      const auto [first, end] = model.equal_range(fingerprint);
      const std::uint64_t address = address_of(random() % 1000);
      const bool there = std::any_of(first, end, [&](auto& e) { return e.second == address; });
      const auto same = static_cast<std::size_t>(std::distance(first, end));
      if (random() % 100 < 55) {
        if (model.size() >= 900 || (same >= Table::kMaxSame && !there)) continue;
        table->insert(fingerprint, address);
        if (!there) model.emplace(fingerprint, address);
      } else if (first != end && random() % 3 == 0) {
        table->promote(fingerprint, first->second);
        REQUIRE(table->find(fingerprint).front() == first->second);
      } else if (first != end) {
        table->erase(fingerprint, first->second);
        model.erase(first);
      }
      REQUIRE(table->usage().cells == model.size());
      const auto [now_first, now_end] = model.equal_range(fingerprint);
      std::multiset<std::uint64_t> expected, found;
      for (auto it = now_first; it != now_end; ++it) expected.insert(it->second);
      for (const std::uint64_t at : table->find(fingerprint)) found.insert(at);
      REQUIRE(found == expected);
    }
    for (const auto& [fingerprint, address] : model) REQUIRE(holds(*table, fingerprint, address));
    table.reset();
    check_sound(path);
  }
}

}  // namespace
}  // namespace skep::index
