// SPDX-License-Identifier: MIT
//
// Rounds of one that stays, on a filesystem in memory.
#include "skep/dedupe/rounds.h"

#include <random>
#include <utility>

#include "pipeline.h"

namespace skep::dedupe {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix
using std::chrono::hours;
using std::chrono::nanoseconds;

struct Following : Pipeline {
  Position position;
  std::unique_ptr<Rounds> rounds;
  std::function<void()> advanced = [] {};
  std::function<std::uint64_t()> newest = [] { return std::uint64_t{0}; };
  nanoseconds ask_every{0};
  std::vector<std::pair<std::string_view, std::uint64_t>> begun;
  std::uint64_t added = 0;

  absl::StatusOr<bool> follow(std::uint64_t to) {
    if (rounds == nullptr) {
      rounds = std::make_unique<Rounds>(
          Rounds::Parts{fs, fingerprinter, *table, counters, options, stop, nullptr, ask_every},
          position,
          Rounds::Hooks{[this] { advanced(); },
                        [this](std::string_view part, std::uint64_t bytes) {
                          begun.emplace_back(part, bytes);
                        },
                        [this](std::uint64_t bytes) { added += bytes; },
                        [this] { return newest(); }});
    }
    return rounds->follow(to);
  }
  // Many batches, none of which frees anything.
  void add_unique_data() {
    for (std::uint64_t seed = 1; seed <= 3000; ++seed) file(distinct_blocks(seed, 2));
  }
  // Writes data twice when the first batch is settled, and says so.
  void write_in_the_middle() {
    advanced = [this] {
      if (freed_at == 0 && counters.bytes_gone != 0) freed_at = counters.extents_scanned;
      if (newer != 0) return;
      file(distinct_blocks(99'999, 40));
      file(distinct_blocks(99'999, 40));
      newer = commit();
      begun_at = counters.extents_scanned;
    };
    newest = [this] { return newer; };
  }
  std::uint64_t newer = 0, begun_at = 0, freed_at = 0;
};

TEST_CASE_METHOD(Following, "what comes during a long round is looked at before its end") {
  add_unique_data();
  const std::uint64_t first = commit();
  write_in_the_middle();
  const auto moved = follow(first);
  REQUIRE(moved.ok());
  CHECK(*moved);
  CHECK(begun_at < 1000);
  CHECK(freed_at != 0);
  CHECK(freed_at < 2000);  // of 3002
  CHECK(counters.bytes_gone == 40 * kBlock);
  // The rest of the round goes on from where it was: nothing is looked at twice.
  CHECK(counters.extents_scanned == 3002);
  CHECK(added == 2 * 40 * kBlock);
  CHECK_FALSE(position.unfinished);
  CHECK(position.done_generation >= newer);
}

TEST_CASE_METHOD(Following, "each part of a round says that it begins, and what it looks at") {
  constexpr std::uint8_t kZstd = 3;
  fs.create(btrfs::kTopLevelRoot, distinct_blocks(1, 8), 0, kZstd);
  file(distinct_blocks(1, 4));
  const std::uint64_t first = commit();
  std::uint64_t bytes = 0;
  for (const auto& extent : all_extents(fs)) bytes += extent.length;
  REQUIRE(follow(first).ok());
  REQUIRE(begun.size() == 6);
  CHECK(begun[0] == std::pair(std::string_view("scan"), std::uint64_t{0}));  // of the table
  CHECK(begun[1].first == "scan");
  CHECK(begun[2] == std::pair(std::string_view("quick"), bytes));
  CHECK(begun[3] == std::pair(std::string_view("content_scan"), bytes));
  CHECK(begun[4].first == "deep_plain");
  CHECK(begun[5].first == "deep_read");
  CHECK(rounds->passes() == 3);
}

TEST_CASE_METHOD(Following, "without news a round is not interrupted") {
  add_unique_data();
  const std::uint64_t first = commit();
  newest = [&] { return first; };
  REQUIRE(follow(first).ok());
  CHECK(counters.extents_scanned == 3000);
  CHECK(position.done_generation == first);
  CHECK(counters.commits == 0);
}

TEST_CASE_METHOD(Following, "a commit that wrote no data does not interrupt a round") {
  add_unique_data();
  const std::uint64_t first = commit();
  newest = [&] { return commit(); };
  REQUIRE(follow(first).ok());
  CHECK(counters.extents_scanned == 3000);
  CHECK(counters.commits == 0);
}

TEST_CASE_METHOD(Following, "news are not asked for more often than told") {
  add_unique_data();
  const std::uint64_t first = commit();
  ask_every = hours(1);
  write_in_the_middle();
  REQUIRE(follow(first).ok());
  CHECK(freed_at == 0);
  CHECK(position.done_generation == first);
  CHECK(follow(newer).ok());
  CHECK(counters.bytes_gone == 40 * kBlock);
}

TEST_CASE_METHOD(Following, "a stop in the middle remembers what was looked at beside the round") {
  add_unique_data();
  const std::uint64_t first = commit();
  write_in_the_middle();
  advanced = [&, before = advanced] {
    before();
    if (freed_at != 0) stop = true;
  };
  CHECK(absl::IsCancelled(follow(first).status()));
  CHECK(position.unfinished);
  CHECK(position.window.to == first);
  CHECK(position.recent_generation >= newer);
  stop = false;
  advanced = [] {};
  REQUIRE(follow(newer).ok());
  CHECK(counters.extents_scanned == 3002);
  CHECK(position.done_generation >= newer);
  CHECK(counters.bytes_gone == 40 * kBlock);
}

TEST_CASE("a round after a scan does not fill the table again, and frees the same") {
  Pipeline p;
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    p.file(distinct_blocks(seed, 40));
    p.file(distinct_blocks(seed, 40));
  }
  Position position;
  const auto rounds = [&] {
    return Rounds({p.fs, p.fingerprinter, *p.table, p.counters, p.options, p.stop}, position, {});
  };
  REQUIRE(rounds().fill_table().ok());
  CHECK(p.counters.extents_indexed == 10);
  CHECK(p.table->usage().cells == 400);
  CHECK(position.done_generation == 0);
  CHECK_FALSE(position.unfinished);
  CHECK(p.fs.calls("dedupe") == 0);

  index::TableOptions options;
  options.size_bytes = 1 << 20;
  p.table.reset();
  p.table = *index::Table::open(p.folder.file("table"), options);
  REQUIRE(p.table->reopened());
  p.file(distinct_blocks(1, 40));
  REQUIRE(rounds().run().ok());
  CHECK(p.counters.extents_indexed == 11);
  CHECK(p.counters.bytes_gone == 6 * 40 * kBlock);
}

// What a damaged state can make of a position, however unlikely.
Position some_position(std::mt19937_64& random) {
  const auto number = [&] {
    constexpr std::uint64_t kOften[] = {0, 1, 2, 3, 7, 1 << 20, 1ULL << 40, ~0ULL - 1, ~0ULL};
    return random() % 4 == 0 ? random() : kOften[random() % std::size(kOften)];
  };
  Position out;
  for (auto* generation :
       {&out.done_generation, &out.deep_generation, &out.table_generation, &out.contents_generation,
        &out.recent_generation, &out.window.after, &out.window.to, &out.cursor.address}) {
    *generation = number();
  }
  if (random() % 2 == 0) out.busy_after = number();
  for (auto i = random() % 4; i > 0; --i) {
    out.retries.push_back({number(), static_cast<std::uint32_t>(number())});
  }
  out.unfinished = random() % 4 != 0;
  out.kind = static_cast<PassKind>(random() % 4);
  out.cursor.tier = static_cast<std::uint32_t>(number());
  return out;
}

TEST_CASE("whatever a position claims, no file changes, and a new one finds all there is") {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    INFO("seed " << seed);
    std::mt19937_64 random(seed);
    Pipeline p;
    std::vector<std::pair<btrfs::FileKey, Bytes>> files;
    for (std::uint64_t i = 0; i < 12; ++i) {
      const Bytes data = distinct_blocks(i / 2, 10);
      files.emplace_back(p.file(data), data);
    }
    p.commit();
    Position position = some_position(random);
    const auto run = [&] {
      const auto status =
          Rounds({p.fs, p.fingerprinter, *p.table, p.counters, p.options, p.stop}, position, {})
              .run();
      INFO(status);
      CHECK(status.ok());
      for (const auto& [key, data] : files) CHECK(p.fs.read_all(key) == data);
    };
    run();
    position = {};
    run();
    CHECK(p.counters.bytes_gone == 6 * 10 * kBlock);
  }
}

}  // namespace
}  // namespace skep::dedupe
