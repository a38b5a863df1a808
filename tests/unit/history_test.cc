// SPDX-License-Identifier: MIT
#include "skep/service/history.h"

#include <string>

#include "catch.h"
#include "temporary_folder.h"
#include "testing.h"

namespace skep::service {
namespace {

using dedupe::SizeClasses;
using dedupe::Verdict;
using skep::testing::contents_of;
using skep::testing::TemporaryFolder;
using skep::testing::uuid_of;
using skep::testing::write_file;

constexpr std::int64_t kHour = 3600, kDay = 24 * kHour;

LeftAlone& left(HistoryRow& row, Verdict verdict) {
  return row.left[static_cast<std::size_t>(verdict)];
}

HistoryRow row_at(std::int64_t time) {
  HistoryRow row;
  row.time = time;
  row.totals.bytes_freed = static_cast<std::uint64_t>(time);
  return row;
}

HistoryRow full_row() {
  HistoryRow row = row_at(1'790'000'000);
  row.totals = {3, 1ULL << 63, 2, 3, 4, 5, 6};
  row.data_used = 1ULL << 40;
  left(row, Verdict::kUnique) = {7, 8};
  left(row, Verdict::kFailed) = {9, 10};
  row.sizes.emplace();
  row.sizes->add(4096);
  row.sizes->add(128ULL << 20);
  return row;
}

void check_equal(const HistoryRow& a, const HistoryRow& b) {
  CHECK(a.time == b.time);
  CHECK(a.totals.runs == b.totals.runs);
  CHECK(a.totals.bytes_freed == b.totals.bytes_freed);
  CHECK(a.totals.bytes_copied == b.totals.bytes_copied);
  CHECK(a.totals.bytes_shared == b.totals.bytes_shared);
  CHECK(a.totals.bytes_read == b.totals.bytes_read);
  CHECK(a.totals.extents_scanned == b.totals.extents_scanned);
  CHECK(a.totals.bytes_scanned == b.totals.bytes_scanned);
  CHECK(a.data_used == b.data_used);
  CHECK(a.left == b.left);
  CHECK(a.sizes == b.sizes);
}

// One row each `step` for so long.
History regular(std::int64_t seconds, std::int64_t step) {
  History out;
  for (std::int64_t time = kDay; time <= kDay + seconds; time += step) add_row(out, row_at(time));
  return out;
}

std::int64_t longest_gap(const History& history, std::int64_t youngest, std::int64_t oldest) {
  std::int64_t out = 0;
  for (std::size_t i = 1; i < history.size(); ++i) {
    const std::int64_t age = history.back().time - history[i].time;
    if (age >= youngest && age < oldest) {
      out = std::max(out, history[i].time - history[i - 1].time);
    }
  }
  return out;
}

TEST_CASE("a length belongs to the class of its power of two") {
  CHECK(SizeClasses::class_of(512) == 0);
  CHECK(SizeClasses::class_of(4096) == 0);
  CHECK(SizeClasses::class_of(8191) == 0);
  CHECK(SizeClasses::class_of(8192) == 1);
  CHECK(SizeClasses::class_of(1 << 20) == 8);
  CHECK(SizeClasses::class_of((128ULL << 20) - 4096) == 14);
  CHECK(SizeClasses::class_of(128ULL << 20) == 15);
  CHECK(SizeClasses::class_of(1ULL << 40) == 15);
  for (std::size_t i = 0; i < SizeClasses::kCount; ++i) {
    CHECK(SizeClasses::class_of(SizeClasses::least_of(i)) == i);
  }
}

TEST_CASE("a history comes back as it was written") {
  const TemporaryFolder folder;
  REQUIRE(write_history(folder.path(), uuid_of(7), {full_row(), row_at(1'790'000'001)}).ok());
  const auto history = read_history(folder.path(), uuid_of(7));
  REQUIRE(history.ok());
  REQUIRE(history->size() == 2);
  check_equal((*history)[0], full_row());
  check_equal((*history)[1], row_at(1'790'000'001));
}

TEST_CASE("without a file the history is empty") {
  const TemporaryFolder folder;
  const auto history = read_history(folder.path(), uuid_of(7));
  REQUIRE(history.ok());
  CHECK(history->empty());
  CHECK(read_history(folder.file("missing"), uuid_of(7)).ok());
}

TEST_CASE("a history that is damaged, of another version or filesystem is told apart") {
  const TemporaryFolder folder;
  REQUIRE(write_history(folder.path(), uuid_of(7), {full_row()}).ok());
  const std::string path = folder.file("history.json");
  const std::string sound = contents_of(path);
  CHECK(absl::IsDataLoss(read_history(folder.path(), uuid_of(8)).status()));
  std::string other = sound;
  other.replace(other.find("\"version\":1"), 11, "\"version\":2");
  std::string negative = sound;
  negative.replace(negative.find("[7,8]"), 5, "[7]");
  std::string endless = sound;
  endless.replace(endless.find("[7,8]"), 5, "[7,8e122]");
  HistoryRow later = full_row();
  ++later.time;
  REQUIRE(write_history(folder.path(), uuid_of(7), {later, full_row()}).ok());
  const std::string back_in_time = contents_of(path);
  for (const std::string& text :
       {other, negative, endless, back_in_time, sound.substr(0, sound.size() / 2), std::string(),
        std::string("[]\n"), std::string("{\"version\":1}"), std::string("\0\xff\xfe", 3)}) {
    write_file(path, text);
    INFO(text);
    CHECK(absl::IsDataLoss(read_history(folder.path(), uuid_of(7)).status()));
  }
}

TEST_CASE("words of a later program are passed over") {
  const TemporaryFolder folder;
  REQUIRE(write_history(folder.path(), uuid_of(7), {full_row()}).ok());
  const std::string path = folder.file("history.json");
  std::string text = contents_of(path);
  text.replace(text.find("\"left\":{"), 8, "\"more\":[1],\"left\":{\"moonlight\":[1,2],");
  write_file(path, text);
  const auto history = read_history(folder.path(), uuid_of(7));
  REQUIRE(history.ok());
  check_equal(history->front(), full_row());
}

TEST_CASE("a history of ten years is bounded, and so is its file") {
  const History history = regular(3653 * kDay, 6 * kHour);
  CHECK(history.size() <= kMostHistoryRows);
  CHECK(history.size() > kMostHistoryRows / 2);
  CHECK(history.front().time == kDay);
  CHECK(history.back().time == kDay + 3653 * kDay);
  History largest(kMostHistoryRows, full_row());
  for (auto& row : largest) {
    for (auto& one : row.left) one = {1ULL << 40, 1ULL << 63};
    row.sizes->extents.fill(1ULL << 40);
    row.sizes->bytes.fill(1ULL << 60);
  }
  const TemporaryFolder folder;
  REQUIRE(write_history(folder.path(), uuid_of(7), largest).ok());
  CHECK(contents_of(folder.file("history.json")).size() < 1 << 20);
}

TEST_CASE("what is recent is kept densely, what is old thinly") {
  const History history = regular(3 * 365 * kDay, kHour);
  CHECK(longest_gap(history, 0, 6 * kDay) <= 2 * kHour);
  CHECK(longest_gap(history, 8 * kDay, 89 * kDay) <= 2 * kDay);
  CHECK(longest_gap(history, 98 * kDay, 729 * kDay) <= 14 * kDay);
}

TEST_CASE("up to the limit nothing is thinned out") {
  const History history = regular(399, 1);
  CHECK(history.size() == kMostHistoryRows);
  CHECK(regular(400, 1).size() == 2);
}

TEST_CASE("a clock that was set back leaves the rows in order") {
  History history;
  add_row(history, row_at(5000));
  add_row(history, row_at(4000));
  CHECK(history.back().time == 5000);
}

}  // namespace
}  // namespace skep::service
