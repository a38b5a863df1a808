// SPDX-License-Identifier: MIT
#include <sys/stat.h>

#include <cstring>
#include <ctime>
#include <filesystem>
#include <string>
#include <vector>

#include "skep/index/table_file.h"
#include "table_testing.h"

namespace skep::index {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix

constexpr std::uint64_t kBuckets = 8;

// 1000 cells in 8 buckets.
void make(const std::string& path) {
  const auto table = open_table(path, options_of(bytes_of_buckets(kBuckets)));
  for (std::uint64_t n = 1; n <= 1000; ++n) table->insert(mix(n), n * kBlock);
}

TableCheck check(const std::string& path) {
  auto out = check_table(path);
  INFO(out.status());
  REQUIRE(out.ok());
  return *out;
}

std::uint64_t cell_at(const std::string& path, std::size_t index) {
  std::uint64_t cell = 0;
  std::memcpy(&cell, contents_of(path).data() + Table::kPageBytes + index * sizeof cell,
              sizeof cell);
  return cell;
}

void set_cell(const std::string& path, std::size_t index, std::uint64_t cell) {
  std::string bytes(sizeof cell, '\0');
  std::memcpy(bytes.data(), &cell, sizeof cell);
  damage(path, Table::kPageBytes + index * sizeof cell, bytes);
}

// The number of the first cell of a line with at least this many in use.
std::size_t line_with(const std::string& path, std::size_t in_use) {
  for (std::size_t at = 0; at < kBuckets * kBucketCells; at += kLineCells) {
    if (cell_at(path, at + in_use - 1) != 0) return at;
  }
  FAIL("no such line");
  return 0;
}

TEST_CASE("what is asked about a table is what it is") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  const auto before = static_cast<std::uint64_t>(time(nullptr));
  make(path);
  const auto info = inspect_table(path);
  REQUIRE(info.ok());
  CHECK(info->size_bytes == bytes_of_buckets(kBuckets));
  CHECK(info->format_version == 2);
  CHECK(info->filesystem == options_of(0).filesystem);
  CHECK(info->block_size == kBlock);
  CHECK(info->kind == FingerprintKind::kCsum);
  CHECK(info->csum_type == btrfs::CsumType::kCrc32c);
  CHECK(info->created_seconds >= before);
  CHECK(info->written_seconds >= before);
  CHECK(info->usage.cells == 1000);
  CHECK(info->usage.capacity == kBuckets * kBucketCells);
  CHECK(info->usage.level == 0);
  CHECK(info->buckets == kBuckets);
  CHECK(info->least_fill > 80);
  CHECK(info->least_fill <= info->median_fill);
  CHECK(info->median_fill <= info->most_fill);
  CHECK(info->most_fill < 170);
  CHECK(info->former_sizes.empty());
}

TEST_CASE("resizing keeps when a table was created, and its kind") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  auto options = options_of(kOneBucket);
  options.kind = FingerprintKind::kData;
  { open_table(path, options)->insert(mix(1), kBlock); }
  const auto before = inspect_table(path);
  REQUIRE(resize_table(path, 1 << 20).ok());
  const auto after = inspect_table(path);
  REQUIRE(after.ok());
  CHECK(after->created_seconds == before->created_seconds);
  CHECK(after->kind == FingerprintKind::kData);
  CHECK(after->former_sizes == std::vector<std::uint64_t>{kOneBucket});
}

TEST_CASE("a sound table has no damage") {
  const TemporaryFolder folder;
  make(folder.file("table"));
  const auto found = check(folder.file("table"));
  CHECK(found.buckets == kBuckets);
  CHECK(found.damaged_buckets == 0);
  CHECK(found.behind_gap + found.unreachable + found.unsampled + found.no_address == 0);
}

TEST_CASE("each byte of the header is watched") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  make(path);
  const std::string sound = contents_of(path);
  for (std::size_t at = 0; at < 120; ++at) {
    INFO("byte " << at);
    std::string damaged = sound;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x40);
    write_file(path, damaged);
    const auto status = check_table(path).status();
    // A version that is another one, and small, is taken for what it says.
    CHECK((absl::IsDataLoss(status) || (absl::IsUnimplemented(status) && (at == 8 || at == 9))));
    CHECK(inspect_table(path).status() == status);
    CHECK(resize_table(path, 1 << 20).status() == status);
    CHECK(contents_of(path) == damaged);
  }
}

TEST_CASE("files that are no tables, or not whole ones, are told apart") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  CHECK(absl::IsNotFound(check_table(path).status()));
  write_file(path, "");
  CHECK(absl::IsInvalidArgument(check_table(path).status()));
  CHECK(message_of(check_table(path).status()) == path + ": it is no table");
  write_file(path, std::string(20'000, 'x'));
  CHECK(absl::IsInvalidArgument(check_table(path).status()));
  std::filesystem::remove(path);
  make(path);
  std::filesystem::resize_file(path, 60);
  CHECK(absl::IsDataLoss(check_table(path).status()));
  std::filesystem::resize_file(path, 3 * Table::kPageBytes);
  CHECK(absl::IsDataLoss(check_table(path).status()));
}

TEST_CASE("a free cell before one in use is damage") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  make(path);
  set_cell(path, line_with(path, 3) + 1, 0);
  const auto found = check(path);
  CHECK(found.damaged_buckets == 1);
  CHECK(found.behind_gap > 0);
}

TEST_CASE("a cell that the search from its home line does not reach is damage") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  make(path);
  const std::size_t line = line_with(path, 1);
  set_cell(path, line, cell_at(path, line) ^ 1ULL << 63);  // its home is 32 lines away
  const auto found = check(path);
  CHECK(found.damaged_buckets == 1);
  CHECK(found.unreachable == 1);
  CHECK(found.behind_gap + found.unsampled + found.no_address == 0);
}

TEST_CASE("a cell without an address is damage") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  make(path);
  const std::size_t line = line_with(path, 1);
  set_cell(path, line, cell_at(path, line) >> 42 << 42);
  const auto found = check(path);
  CHECK(found.damaged_buckets == 1);
  CHECK(found.no_address == 1);
}

TEST_CASE("a cell that is not sampled is damage, and goes when the table is resized") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  {
    const auto table = open_table(path, options_of(bytes_of_buckets(kBuckets)));
    for (std::uint64_t n = 1; n <= 4000; ++n) table->insert(mix(n), n * kBlock);
    REQUIRE(table->usage().level == 1);
  }
  REQUIRE(check(path).damaged_buckets == 0);
  const std::size_t line = line_with(path, 1);
  set_cell(path, line, cell_at(path, line) | 1ULL << 42);
  const auto found = check(path);
  CHECK(found.damaged_buckets == 1);
  CHECK(found.unsampled == 1);
  REQUIRE(resize_table(path, bytes_of_buckets(20)).ok());
  CHECK(check(path).damaged_buckets == 0);
}

TEST_CASE("all damaged buckets are counted") {
  const TemporaryFolder folder;
  const std::string path = folder.file("table");
  make(path);
  // Every other cell is free.
  std::string noise;
  while (noise.size() < 2 * Table::kPageBytes)
    noise += std::string(8, '\x55') + std::string(8, '\0');
  damage(path, 3 * Table::kPageBytes, noise);
  CHECK(check(path).damaged_buckets == 2);
  // A resizing takes it as it comes, and leaves a sound one.
  REQUIRE(resize_table(path, bytes_of_buckets(20)).ok());
  CHECK(check(path).damaged_buckets == 0);
}

}  // namespace
}  // namespace skep::index
