// SPDX-License-Identifier: MIT
#include "skep/index/table.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "skep/btrfs/status.h"
#include "table_testing.h"
#include "temporary_folder.h"
#include "testing.h"

namespace skep::index {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix

TEST_CASE("a table that is created is empty, and has the size asked for") {
  const TemporaryFolder folder;
  const auto table = open_table(folder.file("table"), options_of(10'000));
  CHECK_FALSE(table->reopened());
  CHECK(table->set_aside_reason().empty());
  CHECK(table->usage().cells == 0);
  CHECK(table->usage().capacity == kBucketCells);
  CHECK(table->usage().level == 0);
  CHECK(std::filesystem::file_size(folder.file("table")) == 8192);
  CHECK(table->find(1).empty());
}

TEST_CASE("a copy of a table has what it has, and leaves its file as it is") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  {
    const auto table = open_table(path, options_of(8192));
    for (std::uint64_t i = 1; i <= 400; ++i) table->insert(mix(i), i * kBlock);
    CHECK(absl::IsUnavailable(Table::open_copy(path).status()));
  }
  const std::string before = contents_of(path);
  {
    auto copy = Table::open_copy(path);
    REQUIRE(copy.ok());
    CHECK((*copy)->usage().cells == 400);
    CHECK((*copy)->find(mix(7)).front() == 7 * kBlock);
    (*copy)->erase(mix(7), 7 * kBlock);
    // Past what it holds: the level rises, which is in the header.
    for (std::uint64_t i = 401; i <= 600; ++i) (*copy)->insert(mix(i), i * kBlock);
    CHECK((*copy)->usage().level == 1);
    CHECK((*copy)->save().ok());
    CHECK(contents_of(path) == before);
    CHECK(Table::open_copy(path).ok());
  }
  CHECK(contents_of(path) == before);
  CHECK(open_table(path, options_of(8192))->find(mix(7)).size() == 1);
  CHECK(errno_of(Table::open_copy(folder.file("missing")).status()) == ENOENT);
}

TEST_CASE("a table that is opened again holds what was put in") {
  const TemporaryFolder folder;
  const auto options = options_of(64 << 10);
  {
    const auto table = open_table(folder.file("table"), options);
    for (std::uint64_t i = 1; i <= 100; ++i) table->insert(mix(i), i * kBlock);
    REQUIRE(table->save().ok());
  }
  const auto table = open_table(folder.file("table"), options);
  CHECK(table->reopened());
  CHECK(table->usage().cells == 100);
  for (std::uint64_t i = 1; i <= 100; ++i) CHECK(holds(*table, mix(i), i * kBlock));
}

TEST_CASE("a table reopens with its sampling level") {
  const TemporaryFolder folder;
  const auto options = options_of(kOneBucket);
  Table::Usage before;
  {
    const auto table = open_table(folder.file("table"), options);
    for (std::uint64_t i = 1; i <= 2000; ++i) table->insert(mix(i), i * kBlock);
    before = table->usage();
  }
  const auto table = open_table(folder.file("table"), options);
  CHECK(table->reopened());
  CHECK(before.level > 0);
  CHECK(table->usage().level == before.level);
  CHECK(table->usage().cells == before.cells);
}

TEST_CASE("sizes outside the limits are refused") {
  const TemporaryFolder folder;
  for (const std::uint64_t bytes : {std::uint64_t{0}, kOneBucket - 1, Table::kMaxBytes + 1}) {
    INFO(bytes);
    const auto table = Table::open(folder.file("table"), options_of(bytes));
    CHECK(absl::IsInvalidArgument(table.status()));
  }
  CHECK_FALSE(std::filesystem::exists(folder.file("table")));
}

TEST_CASE("a table that cannot be used is set aside, and a new one begins empty") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  const auto options = options_of(3 * Table::kPageBytes);
  { open_table(path, options)->insert(mix(1), kBlock); }
  auto wanted = options;
  SECTION("its magic is damaged") { damage(path, 0, "X"); }
  SECTION("its header is damaged") { damage(path, 40, "X"); }
  SECTION("its checksum is damaged") { damage(path, 112, "XXXXXXXX"); }
  SECTION("its version is another") { damage(path, 8, "\x01"); }
  SECTION("it is cut in the middle") { std::filesystem::resize_file(path, 6000); }
  SECTION("it is cut by a page") { std::filesystem::resize_file(path, 2 * Table::kPageBytes); }
  SECTION("it is cut in its header") { std::filesystem::resize_file(path, 20); }
  SECTION("it is empty") { std::filesystem::resize_file(path, 0); }
  SECTION("it is too long") { std::filesystem::resize_file(path, 4 * Table::kPageBytes); }
  SECTION("another filesystem is wanted") { wanted.filesystem.fill(8); }
  SECTION("another kind of fingerprint is wanted") { wanted.kind = FingerprintKind::kData; }
  SECTION("another block size is wanted") { wanted.block_size = 16384; }
  SECTION("another checksum is wanted") { wanted.csum_type = btrfs::CsumType::kXxhash64; }
  const std::string before = contents_of(path);
  {
    const auto table = open_table(path, wanted);
    CHECK_FALSE(table->reopened());
    CHECK_FALSE(table->set_aside_reason().empty());
    CHECK(table->usage().cells == 0);
    table->insert(mix(2), wanted.block_size * std::uint64_t{5});
  }
  CHECK(contents_of(path + ".old") == before);
  const auto table = open_table(path, wanted);
  CHECK(table->reopened());
  CHECK(table->set_aside_reason().empty());
  CHECK(holds(*table, mix(2), wanted.block_size * std::uint64_t{5}));
}

TEST_CASE("where no size is asked for, a table that is there keeps its own") {
  const TemporaryFolder folder;
  auto options = options_of(3 * Table::kPageBytes);
  { open_table(folder.file("table"), options)->insert(mix(1), kBlock); }
  options.size_bytes = 10 * Table::kPageBytes;
  options.any_size = true;
  const auto table = open_table(folder.file("table"), options);
  CHECK(table->reopened());
  CHECK(table->usage().capacity == 2 * kBucketCells);
  CHECK(holds(*table, mix(1), kBlock));
}

TEST_CASE("what is no file is an error, not a table that is set aside") {
  const TemporaryFolder folder;
  REQUIRE(std::filesystem::create_directory(folder.file("table")));
  const auto table = Table::open(folder.file("table"), options_of(kOneBucket));
  CHECK_FALSE(table.ok());
  CHECK(std::filesystem::is_directory(folder.file("table")));
}

TEST_CASE("a table is not opened through a symbolic link") {
  const TemporaryFolder folder;
  write_file(folder.file("elsewhere"), "precious");
  std::filesystem::create_symlink(folder.file("elsewhere"), folder.file("table"));
  const auto table = Table::open(folder.file("table"), options_of(kOneBucket));
  CHECK_FALSE(table.ok());
  CHECK(contents_of(folder.file("elsewhere")) == "precious");
}

TEST_CASE("the same cell is not put in twice") {
  const TemporaryFolder folder;
  const auto table = open_table(folder.file("table"), options_of(kOneBucket));
  for (int i = 0; i < 3; ++i) table->insert(mix(1), 5 * kBlock);
  CHECK(table->usage().cells == 1);
  CHECK(table->find(mix(1)).size() == 1);
}

TEST_CASE("addresses that a cell cannot hold, and blocks that nothing shall match, are left out") {
  const TemporaryFolder folder;
  const auto table = open_table(folder.file("table"), options_of(kOneBucket));
  table->insert(kNoFingerprint, kBlock);
  table->insert(mix(1), 0);
  table->insert(mix(1), (1ULL << 42) * kBlock);
  CHECK(table->usage().cells == 0);
  table->insert(mix(1), ((1ULL << 42) - 1) * kBlock);
  CHECK(holds(*table, mix(1), ((1ULL << 42) - 1) * kBlock));
}

TEST_CASE("of one fingerprint only so many addresses are kept") {
  const TemporaryFolder folder;
  const auto table = open_table(folder.file("table"), options_of(kOneBucket));
  for (std::uint64_t i = 1; i <= 100; ++i) table->insert(mix(1), i * kBlock);
  CHECK(table->usage().cells == Table::kMaxSame);
  const auto found = table->find(mix(1));
  CHECK(found.size() == Table::kMaxSame);
  // What came last is there, and what came first: it is the one in between that goes.
  CHECK(holds(*table, mix(1), 100 * kBlock));
  CHECK(found.front() == kBlock);
}

TEST_CASE("what is promoted is found first") {
  const TemporaryFolder folder;
  const auto table = open_table(folder.file("table"), options_of(kOneBucket));
  for (std::uint64_t i = 1; i <= 5; ++i) table->insert(mix(1), i * kBlock);
  table->promote(mix(1), 4 * kBlock);
  auto found = table->find(mix(1));
  CHECK(found.front() == 4 * kBlock);
  std::sort(found.begin(), found.end());
  CHECK(found == Table::Addresses{kBlock, 2 * kBlock, 3 * kBlock, 4 * kBlock, 5 * kBlock});
  table->promote(mix(1), 4 * kBlock);
  CHECK(table->find(mix(1)).front() == 4 * kBlock);
  table->promote(mix(1), 77 * kBlock);  // not there
  CHECK(table->find(mix(1)).size() == 5);
}

TEST_CASE("cells that overflow their cache line are found, and found again when a gap closes") {
  const TemporaryFolder folder;
  const auto table = open_table(folder.file("table"), options_of(kOneBucket));
  const std::uint64_t line = GENERATE(0U, 17U, 62U, 63U);  // the last ones go round to the first
  INFO("line " << line);
  constexpr std::uint64_t kMany = 3 * kLineCells + 3;
  for (std::uint64_t i = 1; i <= kMany; ++i) table->insert(in_line(line, i), i * kBlock);
  for (std::uint64_t i = 1; i <= kMany; ++i) CHECK(holds(*table, in_line(line, i), i * kBlock));
  // One that belongs to the next line had to move on as well.
  const Fingerprint neighbour = in_line((line + 1) % 64, 500);
  table->insert(neighbour, 500 * kBlock);
  for (std::uint64_t gone = 1; gone <= kMany; ++gone) {
    table->erase(in_line(line, gone), gone * kBlock);
    CHECK_FALSE(holds(*table, in_line(line, gone), gone * kBlock));
    CHECK(holds(*table, neighbour, 500 * kBlock));
    for (std::uint64_t i = gone + 1; i <= kMany; ++i) {
      INFO("after " << gone << ": " << i);
      REQUIRE(holds(*table, in_line(line, i), i * kBlock));
    }
  }
  CHECK(table->usage().cells == 1);
}

TEST_CASE("a higher level keeps exactly what is sampled") {
  const TemporaryFolder folder;
  const auto table = open_table(folder.file("table"), options_of(4 * Table::kPageBytes));
  std::uint64_t i = 1;
  while (table->usage().level == 0) {
    table->insert(mix(i), i * kBlock);
    ++i;
  }
  // Seven eighths were full, and the one that was too much is in.
  CHECK(i - 1 == 3 * kBucketCells / 8 * 7 + 1);
  std::uint64_t kept = 0;
  for (std::uint64_t k = 1; k < i; ++k) {
    const bool even = mix(k) % 2 == 0;
    CHECK(table->sampled(mix(k)) == even);
    CHECK(holds(*table, mix(k), k * kBlock) == even);
    kept += even;
  }
  CHECK(table->usage().cells == kept);
  table->insert(3, kBlock);
  CHECK(table->usage().cells == kept);
  // Erasing what is not sampled harms nobody.
  for (std::uint64_t k = 1; k < i; ++k) {
    if (mix(k) % 2 != 0) table->erase(mix(k), k * kBlock);
  }
  CHECK(table->usage().cells == kept);
}

TEST_CASE("a bucket that is full takes new cells in the place of old ones") {
  const TemporaryFolder folder;
  // Two buckets, and all cells in the first: the level does not rise before the bucket is full.
  const auto table = open_table(folder.file("table"), options_of(3 * Table::kPageBytes));
  for (std::uint64_t i = 1; i <= kBucketCells; ++i) table->insert(i << 10 & 0x3fffff, i * kBlock);
  const auto full = table->usage();
  CHECK(full.level == 0);
  CHECK(full.cells <= kBucketCells);
  for (std::uint64_t i = 1; i <= 50; ++i) {
    const Fingerprint fingerprint = in_line(i % 3, 900 + i);
    table->insert(fingerprint, (1000 + i) * kBlock);
    CHECK(holds(*table, fingerprint, (1000 + i) * kBlock));
  }
  CHECK(table->usage().cells <= kBucketCells);
  CHECK(table->usage().level == 0);
}

// Against a multimap: all that is put in is found, all that is erased is not.
TEST_CASE("random operations agree with a model") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    INFO("seed " << seed);
    const TemporaryFolder folder;
    const auto table = open_table(folder.file("table"), options_of(kOneBucket));
    std::mt19937_64 random(seed);
    std::multimap<Fingerprint, std::uint64_t> model;
    // Few lines, so that they overflow, and go round at the end of the bucket.
    const std::uint64_t lines = 1 + random() % 64;
    for (int step = 0; step < 4000; ++step) {
      const Fingerprint fingerprint = in_line((60 + random() % lines) % 64, 1 + random() % 40);
      const auto [first, end] = model.equal_range(fingerprint);
      if (random() % 100 < 55) {
        const std::uint64_t address = (1 + random() % 1000) * kBlock;
        const auto same = static_cast<std::size_t>(std::distance(first, end));
        const bool there = std::any_of(first, end, [&](auto& e) { return e.second == address; });
        if (model.size() >= 440 || (same >= Table::kMaxSame && !there)) continue;
        table->insert(fingerprint, address);
        if (!there) model.emplace(fingerprint, address);
      } else if (first != end && random() % 4 == 0) {
        table->promote(fingerprint, first->second);
        REQUIRE(table->find(fingerprint).front() == first->second);
      } else if (first != end) {
        table->erase(fingerprint, first->second);
        model.erase(first);
      } else {
        table->erase(fingerprint, kBlock);
      }
      REQUIRE(table->usage().cells == model.size());
      const auto [now_first, now_end] = model.equal_range(fingerprint);
      std::multiset<std::uint64_t> expected, found;
      for (auto it = now_first; it != now_end; ++it) expected.insert(it->second);
      for (const std::uint64_t address : table->find(fingerprint)) found.insert(address);
      REQUIRE(found == expected);
    }
    for (const auto& [fingerprint, address] : model) {
      REQUIRE(holds(*table, fingerprint, address));
    }
  }
}

TEST_CASE("whatever is put in, the number of cells stays what can be found") {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    INFO("seed " << seed);
    const TemporaryFolder folder;
    const auto options = options_of(kOneBucket);
    std::set<std::pair<Fingerprint, std::uint64_t>> tried;
    std::uint64_t cells = 0;
    {
      const auto table = open_table(folder.file("table"), options);
      std::mt19937_64 random(seed);
      for (std::uint64_t i = 1; i <= 20'000; ++i) {
        // The high half is zero: bucket 0 of however many.
        const Fingerprint fingerprint = 1 + random() % (1 << 30);
        if (random() % 8 == 0 && !tried.empty()) {
          const auto [known, address] = *tried.lower_bound({fingerprint % (1 << 20), 0});
          table->erase(known, address);
          continue;
        }
        table->insert(fingerprint, i * kBlock);
        tried.emplace(fingerprint, i * kBlock);
      }
      cells = table->usage().cells;
      CHECK(cells <= kBucketCells * 7 / 8);
      std::uint64_t found = 0;
      for (const auto& [fingerprint, address] : tried) found += holds(*table, fingerprint, address);
      CHECK(found == cells);
    }
    // Counted anew from the file.
    CHECK(open_table(folder.file("table"), options)->usage().cells == cells);
  }
}

}  // namespace
}  // namespace skep::index
