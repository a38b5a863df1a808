// SPDX-License-Identifier: MIT
//
// Whole passes over a filesystem in memory.
#include "skep/dedupe/engine.h"

#include <algorithm>
#include <map>
#include <random>

#include "pipeline.h"

namespace skep::dedupe {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix
using btrfs::FileKey;

struct Passes : Pipeline {
  std::map<FileKey, Bytes> contents;

  FileKey add(const Bytes& data) {
    const FileKey key = file(data);
    contents[key] = data;
    return key;
  }
  PassResult pass() {
    const Window window{0, commit()};
    auto census = scan(fs, fingerprinter, window, *table, [] { return false; });
    REQUIRE(census.ok());
    Engine engine(fs, fingerprinter, *table, counters, options, pace, nullptr, stores_soon);
    return engine.run_pass(
        PassKind::kQuick, window, {}, *census, [&] { return stop.load(); },
        [&](Cursor at) { seen.push_back(at); });
  }
  void check_contents() {
    for (const auto& [key, data] : contents) {
      INFO(key.inode);
      CHECK((fs.read_all(key) == data));
    }
  }
  // Everything that was scanned left with a verdict.
  void check_verdicts() {
    std::uint64_t extents = 0;
    for (const auto& tally : counters.verdicts) extents += tally.extents;
    CHECK(extents == counters.extents_scanned);
  }
  std::vector<Cursor> seen;
  std::function<bool()> stores_soon;
  Pace* pace = nullptr;
};

// The match stage is at the second extent when the plan stage lets go of the first one. Before it
// let go of what was pinned last, one in some 100 passes left both.
TEST_CASE("an extent goes to a larger one that was planned to go to it, and stays") {
  constexpr int kPasses = 300;
  for (int i = 0; i < kPasses; ++i) {
    Passes passes;
    const Bytes half = distinct_blocks(1, 32);
    passes.add(joined(joined(distinct_blocks(2, 32), half), distinct_blocks(3, 64)));
    passes.add(joined(half, distinct_blocks(4, 16)));
    passes.add(zero_blocks(64));
    REQUIRE(passes.pass().complete);
    REQUIRE(passes.counters.bytes_gone == (48 + 64) * kBlock);
  }
}

TEST_CASE_METHOD(Passes, "a pass frees plain copies, and files read as before") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Bytes data = distinct_blocks(seed, 1 + seed % 9);
    for (int copies = 0; copies < 3; ++copies) add(data);
  }
  add(distinct_blocks(99, 300));
  add(distinct_blocks(99, 300));
  commit();
  const std::uint64_t before = fs.data_used();
  std::uint64_t once = 300 * kBlock;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) once += (1 + seed % 9) * kBlock;
  const PassResult result = pass();
  CHECK(result.status.ok());
  CHECK(result.complete);
  CHECK(result.reached.done());
  CHECK(fs.data_used() == once);
  CHECK(counters.freed_bytes() == before - once);
  CHECK(counters.bytes_copied == 0);
  CHECK_FALSE(seen.empty());
  check_contents();
  check_verdicts();
}

TEST_CASE_METHOD(Passes, "a second pass frees nothing more") {
  const Bytes one = distinct_blocks(1, 40);
  add(one);
  add(one);
  add(part(one, 3, 7));
  add(head(one, 5 * kBlock + 77));
  add(head(one, 5 * kBlock + 77));
  add(zero_blocks(3));
  REQUIRE(pass().complete);
  REQUIRE(pass().complete);
  const std::uint64_t used = fs.data_used(), gone = counters.bytes_gone;
  CHECK(gone > 0);
  REQUIRE(pass().complete);
  CHECK(counters.bytes_gone == gone);
  CHECK(fs.data_used() == used);
  check_contents();
  check_verdicts();
}

// Asks for small steps, and notes what it is asked.
class SmallSteps final : public Pace {
 public:
  void before_batch(const std::function<bool()>&) override { ++batches; }
  void batch_done() override { ++done; }
  void between_steps(const std::function<bool()>&) override {
    ++steps;
    if (on_step) on_step();
  }
  std::uint64_t step_bytes() const override { return 8 * kBlock; }

  std::atomic<int> batches = 0, done = 0, steps = 0;
  std::function<void()> on_step;
};

TEST_CASE_METHOD(Passes, "a pace holds up a long extent between pieces of a step each") {
  SmallSteps small;
  pace = &small;
  options.threads = 1;
  add(distinct_blocks(1, 400));
  add(distinct_blocks(1, 400));
  std::uint64_t read_then = 0, most_at_once = 0;
  small.on_step = [&] {
    most_at_once = std::max(most_at_once, counters.bytes_read_asked - read_then);
    read_then = counters.bytes_read_asked;
  };
  REQUIRE(pass().complete);
  CHECK(counters.bytes_gone == 400 * kBlock);
  CHECK(fs.calls("dedupe") == 400 / 8);
  CHECK(small.steps >= 400 / 8);
  // Source and target of a piece, and as much ahead.
  CHECK(most_at_once <= 2 * 2 * 8 * kBlock);
  CHECK(small.done >= small.batches);
  check_contents();
}

TEST_CASE_METHOD(Passes, "a pace holds up the copying of a long remnant") {
  SmallSteps small;
  pace = &small;
  // Of whichever file goes, what the other has not is copied.
  for (const std::uint64_t of_its_own : {2, 3}) {
    Bytes data = distinct_blocks(1, 1200);
    const Bytes more = distinct_blocks(of_its_own, 1000);
    data.insert(data.end(), more.begin(), more.end());
    add(data);
  }
  REQUIRE(pass().complete);
  CHECK(counters.bytes_copied >= 1000 * kBlock);
  // Each MiB, beside each piece that is shared.
  CHECK(small.steps >= 1000 / 256 + 1200 / 8);
  check_contents();
}

TEST_CASE_METHOD(Passes, "a scan is let go portion by portion") {
  SmallSteps small;
  add(distinct_blocks(1, 8));
  const Window window{0, commit()};
  auto census = scan(
      fs, fingerprinter, window, *table, [] { return false; }, &small);
  REQUIRE(census.ok());
  CHECK(small.batches == 1);
  CHECK(small.done == 1);
}

TEST_CASE_METHOD(Passes, "a stop that is asked for from the start leaves everything as it is") {
  const Bytes one = distinct_blocks(1, 8);
  const FileKey a = add(one), b = add(one);
  const std::uint64_t of_a = address_of(a), of_b = address_of(b);
  stop = true;
  const PassResult result = pass();
  CHECK(result.status.ok());
  CHECK_FALSE(result.complete);
  CHECK(result.reached.tier == 0);
  CHECK(result.reached.address == 0);
  CHECK(fs.calls("dedupe") == 0);
  CHECK(fs.calls("create_temporary") == 0);
  CHECK(address_of(a) == of_a);
  CHECK(address_of(b) == of_b);
  CHECK(counters.bytes_gone == 0);
  check_contents();
}

TEST_CASE_METHOD(Passes, "a pass that was stopped midway is finished by the next") {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    add(distinct_blocks(seed, 2));
    add(distinct_blocks(seed, 2));
  }
  fs.set_on_call([&, calls = 0](std::string_view call) mutable {
    if (call == "dedupe" && ++calls == 5) stop = true;
  });
  options.threads = 1;
  CHECK_FALSE(pass().complete);
  CHECK(fs.data_used() > 600 * kBlock);
  fs.set_on_call(nullptr);
  check_contents();
  stop = false;
  CHECK(pass().complete);
  CHECK(fs.data_used() == 600 * kBlock);
  check_contents();
}

// So many copies that they fill several batches.
void add_copies(Passes& passes) {
  for (int i = 0; i < 600; ++i) passes.add(distinct_blocks(static_cast<std::uint64_t>(i % 2), 10));
}

// What a checkpoint stores, the filesystem must not lose with the power.
TEST_CASE_METHOD(Passes, "the cursor stays before what is not committed") {
  add_copies(*this);
  options.threads = 1;  // many meet at an extent now and then, and look at it again after a commit
  const PassResult result = pass();
  REQUIRE(result.complete);
  REQUIRE(seen.size() > 2);
  for (const Cursor& at : seen) CHECK(at == seen.front());
  CHECK(counters.commits == 1);
}

TEST_CASE_METHOD(Passes, "before the cursor is stored everything is committed") {
  add_copies(*this);
  stores_soon = [] { return true; };
  REQUIRE(pass().complete);
  // Batches may be settled in another order than they came in: the cursor waits for the first.
  REQUIRE(seen.size() > 2);
  CHECK_FALSE(seen.back() == seen.front());
  CHECK(counters.commits > 2);
}

TEST_CASE_METHOD(Passes, "after a commit that fails a pass goes on from the last one before it") {
  add_copies(*this);
  const Window window{0, commit()};
  auto census = scan(fs, fingerprinter, window, *table, [] { return false; });
  REQUIRE(census.ok());
  Engine engine(fs, fingerprinter, *table, counters, options);
  fs.set_on_call([this](std::string_view call) {
    btrfs::FaultPlan plan;
    plan.io_error = call == "sync" ? 1 : 0;
    fs.set_faults(plan);
  });
  const PassResult result = engine.run_pass(
      PassKind::kQuick, window, {}, *census, [] { return false; }, [](Cursor) {});
  CHECK_FALSE(result.status.ok());
  CHECK(fs.calls("dedupe") > 0);
  CHECK(result.reached == Cursor{});
}

TEST_CASE_METHOD(Passes, "copies in snapshots go too, and the snapshots read as before") {
  const std::uint64_t root = fs.add_subvolume();
  const Bytes one = distinct_blocks(1, 256);
  add(one);
  const FileKey b = fs.create(root, one);
  contents[b] = one;
  const std::uint64_t copy = fs.snapshot(root);
  contents[{copy, b.inode}] = one;
  CHECK(pass().complete);
  commit();
  CHECK(fs.data_used() == 256 * kBlock);
  CHECK(counters.not_gone == 0);
  check_contents();
}

TEST_CASE("passes over random files change no content, and count what they free") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    INFO("seed " << seed);
    Passes p;
    std::mt19937_64 random(seed);
    const auto below = [&](std::uint64_t bound) { return random() % bound; };
    const Bytes pool = joined(distinct_blocks(seed, 40), zero_blocks(6));
    const std::uint64_t root = p.fs.add_subvolume();
    std::vector<FileKey> files;
    for (int i = 0; i < 40; ++i) {
      Bytes data;
      for (std::uint64_t parts = 1 + below(3); parts > 0; --parts) {
        const std::uint64_t first = below(45);
        data = joined(data, part(pool, first, 1 + below(46 - first)));
      }
      if (below(2) == 0) data.resize(data.size() - 1000 * below(4));
      const FileKey key = p.fs.create(below(2) == 0 ? btrfs::kTopLevelRoot : root, data);
      p.contents[key] = data;
      files.push_back(key);
      const FileKey other = files[below(files.size())];
      Bytes& bytes = p.contents[other];
      switch (below(5)) {
        case 0: {
          const std::uint64_t at = below(bytes.size() / kBlock + 1) * kBlock;
          const Bytes fresh = part(pool, below(40), 1);
          REQUIRE(p.fs.write(other, at, fresh).ok());
          bytes.resize(std::max<std::size_t>(bytes.size(), at + kBlock));
          std::copy(fresh.begin(), fresh.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
          break;
        }
        case 1:
          bytes.resize(below(bytes.size()) + 1);
          REQUIRE(p.fs.truncate(other, bytes.size()).ok());
          break;
        default:
          break;
      }
    }
    if (seed % 2 == 0) {
      const std::uint64_t copy = p.fs.snapshot(root);
      for (const FileKey key : files) {
        if (key.root == root) p.contents[{copy, key.inode}] = p.contents[key];
      }
    }
    for (int round = 0; round < 3; ++round) {
      p.commit();
      const std::uint64_t used = p.fs.data_used();
      const std::uint64_t gone = p.counters.bytes_gone, copied = p.counters.bytes_copied;
      REQUIRE(p.pass().complete);
      p.commit();
      CHECK(p.fs.data_used() + (p.counters.bytes_gone - gone) ==
            used + (p.counters.bytes_copied - copied));
      CHECK(p.counters.not_gone == 0);
      CHECK(p.fs.data_used() <= used);
      p.check_contents();
      p.check_verdicts();
    }
    CHECK(p.counters.bytes_gone > 0);
  }
}

TEST_CASE_METHOD(Passes, "whatever fails, contents stay and the pass ends") {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    const Bytes data = joined(distinct_blocks(seed, 3), distinct_blocks(100 + seed, 1));
    add(data);
    add(joined(distinct_blocks(seed, 3), distinct_blocks(200 + seed, 1)));
    add(head(data, 3 * kBlock + 10));
    add(data);
  }
  btrfs::FaultPlan faults;
  faults.seed = GENERATE(1U, 2U, 3U);
  faults.not_found = 0.05;
  faults.invalid = 0.05;
  faults.false_differs = 0.05;
  faults.short_answer = 0.1;
  faults.empty_answer = 0.05;
  INFO(btrfs::to_string(faults));
  commit();
  Engine engine(fs, fingerprinter, *table, counters, options);
  const Window window{0, *fs.generation()};
  auto census = scan(fs, fingerprinter, window, *table, [] { return false; });
  REQUIRE(census.ok());
  fs.set_faults(faults);
  const PassResult result = engine.run_pass(
      PassKind::kQuick, window, {}, *census, [&] { return stop.load(); }, [](Cursor) {});
  CHECK(fs.faults_injected() > 0);
  fs.set_faults({});
  CHECK(result.complete);
  check_contents();
  check_verdicts();
}

}  // namespace
}  // namespace skep::dedupe
