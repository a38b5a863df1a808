// SPDX-License-Identifier: MIT
//
// What rounds leave for later because a send is in the way.
#include "pipeline.h"
#include "skep/dedupe/rounds.h"

namespace skep::dedupe {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix
using btrfs::FaultPlan;

struct Busy : Pipeline {
  Position position;
  const Bytes data = distinct_blocks(1, 4);

  Rounds rounds() {
    return Rounds({fs, fingerprinter, *table, counters, options, stop}, position, {});
  }
  // What a send does to all shares.
  void hold(bool held) {
    FaultPlan plan;
    plan.try_again = held ? 1 : 0;
    fs.set_faults(plan);
  }
  void follow() {
    Rounds all = rounds();
    const std::uint64_t to = commit();
    while (true) {
      auto moved = all.follow(to);
      REQUIRE(moved.ok());
      if (!*moved) return;
    }
  }
  Busy() {
    file(distinct_blocks(9, 2));
    follow();  // a generation that nothing is left of
    file(data);
    file(data);
    hold(true);
  }
};

TEST_CASE_METHOD(Busy, "what a send was in the way of is noted, and not tried again by itself") {
  const std::uint64_t before = position.done_generation;
  follow();
  CHECK(position.busy_after == before);
  CHECK(position.done_generation > before);
  const std::uint64_t calls = fs.calls("dedupe");
  follow();
  CHECK(fs.calls("dedupe") == calls);
  CHECK(counters.bytes_gone == 0);
}

TEST_CASE_METHOD(Busy, "it is shared when it is taken up after the send") {
  follow();
  hold(false);
  Rounds later = rounds();
  later.take_up_left();
  CHECK_FALSE(position.busy_after);
  REQUIRE(later.follow(commit()).ok());
  CHECK_FALSE(position.busy_after);
  CHECK(counters.bytes_gone == data.size());
}

TEST_CASE_METHOD(Busy, "it stays noted when it is taken up too early") {
  const std::uint64_t before = position.done_generation;
  follow();
  Rounds later = rounds();
  later.take_up_left();
  REQUIRE(later.follow(commit()).ok());
  CHECK(position.busy_after == before);
  CHECK(counters.bytes_gone == 0);
}

TEST_CASE_METHOD(Busy, "a pass that is under way ends first") {
  follow();
  position.unfinished = true;
  const auto noted = position.busy_after;
  rounds().take_up_left();
  CHECK(position.busy_after == noted);
}

TEST_CASE_METHOD(Busy, "a run that ends takes it up by itself") {
  follow();
  hold(false);
  REQUIRE(rounds().run().ok());
  CHECK(counters.bytes_gone == data.size());
}

TEST_CASE_METHOD(Busy, "a run that goes on with a pass takes it up after that") {
  follow();
  hold(false);
  position.unfinished = true;
  position.kind = PassKind::kQuick;
  position.window = {position.done_generation, position.done_generation};
  REQUIRE(rounds().run().ok());
  CHECK_FALSE(position.busy_after);
  CHECK(counters.bytes_gone == data.size());
}

}  // namespace
}  // namespace skep::dedupe
