// SPDX-License-Identifier: MIT
//
// Extents that cannot be shared in the moment in which they are looked at, because a balance moves
// them, or somebody writes: they are looked at again.
#include <string_view>

#include "pipeline.h"
#include "skep/dedupe/limits.h"
#include "skep/dedupe/rounds.h"

namespace skep::dedupe {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix
using btrfs::FaultPlan;

struct Retry : Pipeline {
  Position position;
  const Bytes data = distinct_blocks(1, 4);

  Retry() {
    file(data);
    file(data);
  }
  Rounds rounds() {
    return Rounds({fs, fingerprinter, *table, counters, options, stop}, position, {});
  }
  // References are named whose files are elsewhere.
  void move(bool moves) {
    FaultPlan plan;
    plan.not_found = moves ? 1 : 0;
    fs.set_faults(plan);
  }
  void follow(Rounds& all) {
    const std::uint64_t to = commit();
    while (true) {
      auto moved = all.follow(to);
      REQUIRE(moved.ok());
      if (!*moved) return;
    }
  }
  void follow() {
    Rounds all = rounds();
    follow(all);
  }
  void follow_and_take_up() {
    Rounds all = rounds();
    all.take_up_left();
    follow(all);
  }
  // Everything that was scanned left with a verdict, once.
  void check_verdicts() const {
    std::uint64_t extents = 0;
    for (const auto& tally : counters.verdicts) extents += tally.extents;
    CHECK(extents == counters.extents_scanned);
  }
};

TEST_CASE_METHOD(Retry, "what moved when the crawl met it is shared at the end of the pass") {
  move(true);
  fs.set_on_call([&, looked = false](std::string_view call) mutable {
    looked = looked || call == "file_map";
    if (looked && call == "extents") move(false);  // the revisit begins
  });
  follow();
  CHECK(counters.bytes_gone == data.size());
  CHECK(position.retries.empty());
  CHECK(counters.extents_scanned == 2);
  CHECK(left_as(Verdict::kChanged) == 0);
  check_verdicts();
}

TEST_CASE_METHOD(Retry, "what moves on is counted and noted, and not looked at again by itself") {
  move(true);
  Rounds all = rounds();
  follow(all);
  CHECK(left_as(Verdict::kChanged) == 1);
  REQUIRE(position.retries.size() == 1);
  CHECK(position.retries.front().tries == 0);
  check_verdicts();
  const std::uint64_t calls = fs.calls("file_map");
  follow(all);
  CHECK(fs.calls("file_map") == calls);
  CHECK(position.retries.size() == 1);
}

TEST_CASE_METHOD(Retry, "it is shared when it is taken up later") {
  move(true);
  follow();
  move(false);
  follow_and_take_up();
  CHECK(counters.bytes_gone == data.size());
  CHECK(position.retries.empty());
  check_verdicts();
}

TEST_CASE_METHOD(Retry, "it is taken up beside new data as well") {
  move(true);
  follow();
  move(false);
  file(distinct_blocks(2, 3));
  follow_and_take_up();
  CHECK(counters.bytes_gone == data.size());
  CHECK(position.retries.empty());
}

TEST_CASE_METHOD(Retry, "a run that ends looks at it again by itself") {
  move(true);
  follow();
  move(false);
  REQUIRE(rounds().run().ok());
  CHECK(counters.bytes_gone == data.size());
  CHECK(position.retries.empty());
}

TEST_CASE_METHOD(Retry, "it is given up after some tries") {
  move(true);
  follow();
  for (std::uint32_t i = 1; i < limits::kRetryTries; ++i) {
    follow_and_take_up();
    REQUIRE(position.retries.size() == 1);
    CHECK(position.retries.front().tries == i);
  }
  follow_and_take_up();
  CHECK(position.retries.empty());
  CHECK(counters.bytes_gone == 0);
}

TEST_CASE_METHOD(Retry, "what is gone is not waited for") {
  move(true);
  follow();
  move(false);
  for (const auto& key : fs.files()) REQUIRE(fs.remove(key).ok());
  follow_and_take_up();
  CHECK(position.retries.empty());
  CHECK(counters.bytes_gone == 0);
}

TEST_CASE_METHOD(Retry, "a stop keeps what is still to be looked at") {
  move(true);
  follow();
  const auto before = position.retries;
  move(false);
  Rounds all = rounds();
  all.take_up_left();
  fs.set_on_call([&, calls = 0](std::string_view call) mutable {
    if (call == "extents" && ++calls == 1) stop = true;
  });
  CHECK(absl::IsCancelled(all.follow(commit()).status()));
  CHECK(position.retries == before);
}

}  // namespace
}  // namespace skep::dedupe
