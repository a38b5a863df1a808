// SPDX-License-Identifier: MIT
//
// Carrying plans out, and what is counted afterwards.
#include <absl/status/status.h>

#include <algorithm>

#include "pipeline.h"

namespace skep::dedupe {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix
using btrfs::FaultPlan;
using btrfs::FileHandle;
using btrfs::FileKey;

// The only batch that has plans.
Batch& batch_to_apply(std::vector<Batch>& batches) {
  Batch* found = nullptr;
  for (Batch& batch : batches) {
    if (batch.plans.empty()) continue;
    REQUIRE(found == nullptr);
    found = &batch;
  }
  REQUIRE(found != nullptr);
  return *found;
}

// Two equal files: `b` is planned to go.
struct Pair : Pipeline {
  const Bytes data = distinct_blocks(1, 4);
  const FileKey a = file(data), b = file(data);
  const std::uint64_t victim = address_of(b);
  std::vector<Batch> batches = plan();
  Batch& batch = batch_to_apply(batches);
  ~Pair() {
    CHECK((fs.read_all(a) == data));
    CHECK((fs.read_all(b) == data));
  }
};

TEST_CASE_METHOD(Pair, "an applied plan frees its victim, verified after a commit") {
  REQUIRE(apply(batch).ok());
  CHECK(batch.plans.empty());
  REQUIRE(batch.outcomes.size() == 1);
  CHECK(batch.outcomes[0].verdict == Verdict::kFreed);
  CHECK(batch.outcomes[0].begun);
  CHECK_FALSE(batch.dropped);
  CHECK(address_of(b) == address_of(a));
  auto settle = settle_stage();
  REQUIRE(settle.run(batch).ok());
  CHECK(counters.bytes_gone == 0);
  CHECK(roles.going(victim));
  REQUIRE(settle.verify().ok());
  CHECK(counters.bytes_gone == 4 * kBlock);
  CHECK(counters.bytes_duplicate == 4 * kBlock);
  CHECK(counters.not_gone == 0);
  CHECK(counters.commits == 1);
  CHECK(left_as(Verdict::kFreed) == 1);
  CHECK_FALSE(roles.going(victim));
  CHECK_FALSE(roles.pinned(address_of(a)));
  CHECK(fs.data_used() == 4 * kBlock);
}

TEST_CASE_METHOD(Pair,
                 "a victim that got a reference meanwhile is not freed, but looked at again") {
  const FileKey c = file({});
  fs.set_on_call([&, done = false](std::string_view call) mutable {
    if (call != "dedupe" || done) return;
    done = true;
    REQUIRE(fs.reflink(b, 0, 4 * kBlock, c, 0).ok());
  });
  REQUIRE(apply(batch).ok());
  auto settle = settle_stage();
  REQUIRE(settle.run(batch).ok());
  REQUIRE(settle.verify().ok());
  CHECK(address_of(c) == victim);
  CHECK(counters.bytes_gone == 0);
  CHECK(counters.not_gone == 1);
  CHECK(left_as(Verdict::kFreed) == 0);
  CHECK(counters.bytes_duplicate == 0);
  const auto deferred = roles.take_deferred();
  REQUIRE(deferred.size() == 1);
  CHECK(deferred.front().address == victim);
  CHECK(deferred.front().why == Verdict::kChanged);
  CHECK_FALSE(roles.going(victim));
  CHECK(kept == 1);
}

TEST_CASE_METHOD(Pair, "EAGAIN is tried again") {
  FaultPlan faults;
  faults.try_again = 1;
  fs.set_faults(faults);
  fs.set_on_call([&, calls = 0](std::string_view call) mutable {
    if (call == "dedupe" && ++calls == 2) fs.set_faults({});
  });
  REQUIRE(apply(batch).ok());
  CHECK(batch.outcomes.at(0).verdict == Verdict::kFreed);
  CHECK(counters.share_retries == 1);
  CHECK(address_of(b) == address_of(a));
}

TEST_CASE_METHOD(Pair, "EAGAIN that lasts makes the victim busy, and it stays") {
  FaultPlan faults;
  faults.try_again = 1;
  fs.set_faults(faults);
  REQUIRE(apply(batch).ok());
  CHECK(batch.outcomes.at(0).verdict == Verdict::kBusy);
  CHECK(counters.share_retries == 3);
  CHECK(fs.calls("dedupe") == 4);
  fs.set_faults({});
  CHECK(address_of(b) == victim);
  auto settle = settle_stage();
  REQUIRE(settle.run(batch).ok());
  CHECK(left_as(Verdict::kBusy) == 1);
  CHECK_FALSE(roles.going(victim));
  CHECK_FALSE(roles.pinned(address_of(a)));
}

TEST_CASE_METHOD(
    Pair, "what a plan that failed has begun is committed before its keepers are met again") {
  FaultPlan faults;
  faults.false_differs = 1;
  fs.set_faults(faults);
  REQUIRE(apply(batch).ok());
  fs.set_faults({});
  auto settle = settle_stage();
  REQUIRE(settle.run(batch).ok());
  CHECK(counters.commits == 0);
  REQUIRE(settle.verify().ok());
  CHECK(counters.commits == 1);
  REQUIRE(settle.verify().ok());
  CHECK(counters.commits == 1);
}

TEST_CASE_METHOD(Pair, "a file that may not be changed keeps its extent, with the reason") {
  FaultPlan faults;
  faults.not_permitted = 1;
  fs.set_faults(faults);
  REQUIRE(apply(batch).ok());
  CHECK(batch.outcomes.at(0).verdict == Verdict::kImmutable);
  CHECK(fs.calls("dedupe") == 1);
  fs.set_faults({});
  CHECK(address_of(b) == victim);
}

TEST_CASE_METHOD(Pair, "success without progress is an error, not a loop") {
  FaultPlan faults;
  faults.empty_answer = 1;
  fs.set_faults(faults);
  REQUIRE(apply(batch).ok());
  CHECK(batch.outcomes.at(0).verdict == Verdict::kFailed);
  CHECK(fs.calls("dedupe") == 1);
  fs.set_faults({});
  CHECK(address_of(b) == victim);
}

TEST_CASE_METHOD(Pair, "short answers are carried on to the end") {
  FaultPlan faults;
  faults.short_answer = 0.8;
  faults.seed = GENERATE(1U, 2U, 3U);
  fs.set_faults(faults);
  REQUIRE(apply(batch).ok());
  CHECK(batch.outcomes.at(0).verdict == Verdict::kFreed);
  fs.set_faults({});
  commit();
  CHECK(fs.data_used() == 4 * kBlock);
}

TEST_CASE_METHOD(Pipeline, "targets of one call that come on at different speeds all arrive") {
  const Bytes data = distinct_blocks(1, 64);
  const FileKey a = file(data), b = file(data), c = file({});
  REQUIRE(fs.reflink(b, 0, data.size(), c, 0).ok());
  auto batches = plan();
  FaultPlan faults;
  faults.short_answer = 0.8;
  faults.seed = 1;
  fs.set_faults(faults);
  REQUIRE(apply(batch_to_apply(batches)).ok());
  fs.set_faults({});
  CHECK(fs.calls("dedupe") > 4);
  CHECK(address_of(b) == address_of(a));
  CHECK(address_of(c) == address_of(a));
  CHECK((fs.read_all(b) == data));
  CHECK((fs.read_all(c) == data));
}

TEST_CASE_METHOD(Pair, "a file that was written meanwhile keeps what was written") {
  REQUIRE(fs.write(b, 0, distinct_blocks(9, 4)).ok());
  REQUIRE(apply(batch).ok());
  CHECK(batch.outcomes.at(0).verdict == Verdict::kDiffers);
  CHECK((fs.read_all(b) == distinct_blocks(9, 4)));
  REQUIRE(fs.write(b, 0, data).ok());  // as the fixture expects at its end
}

// The number of a file names another by now, which happens to hold the same: a filter may leave it
// out, nobody has looked.
TEST_CASE_METHOD(Pair, "a later file under the number of a planned one is left alone") {
  const FileKey replaced = GENERATE(0, 1) == 0 ? a : b;
  commit();
  REQUIRE(fs.remove(replaced).ok());
  commit();
  fs.create_in_place_of(replaced, data);
  commit();
  const std::uint64_t address = address_of(replaced);
  REQUIRE(apply(batch).ok());
  CHECK(batch.outcomes.at(0).verdict == Verdict::kChanged);
  CHECK(address_of(replaced) == address);
  CHECK(fs.data_used() == 8 * kBlock);
}

// `b` is planned to go: two blocks are those of `a`, four those of another. The first range is
// found to differ.
struct Differing : Pipeline {
  const Bytes one = distinct_blocks(1, 8), two = distinct_blocks(2, 8);
  const Bytes data = joined(part(one, 1, 2), part(two, 1, 4));
  const FileKey a = file(one), other = file(two);
  const std::uint64_t before = commit();
  const FileKey b = file(data);
  const std::uint64_t victim = address_of(b);
  std::vector<Batch> batches = plan(before);
  Batch& batch = batch_to_apply(batches);

  // `then` is in force after it.
  void differ_once(const FaultPlan& then) {
    FaultPlan faults;
    faults.false_differs = 1;
    fs.set_faults(faults);
    fs.set_on_call([&, then, calls = 0](std::string_view call) mutable {
      if (call == "dedupe" && ++calls == 2) fs.set_faults({});
      if (calls == 2 && call == "create_temporary") fs.set_faults(then);
    });
  }
};

TEST_CASE_METHOD(Differing, "a small range that differs and cannot be copied stays as it is") {
  FaultPlan then;
  then.io_error = 1;
  differ_once(then);
  REQUIRE(apply(batch).ok());
  fs.set_on_call(nullptr);
  fs.set_faults({});
  CHECK(batch.outcomes.at(0).verdict == Verdict::kFailed);
  CHECK(address_of(b) == victim);
  auto settle = settle_stage();
  REQUIRE(settle.run(batch).ok());
  REQUIRE(settle.verify().ok());
  CHECK(counters.bytes_gone == 0);
  CHECK((fs.read_all(b) == data));
}

TEST_CASE_METHOD(Differing, "a small range that differs is copied after all, and the victim goes") {
  differ_once({});
  REQUIRE(apply(batch).ok());
  CHECK(batch.outcomes.at(0).verdict == Verdict::kFreed);
  CHECK(batch.outcomes.at(0).copied_bytes == 2 * kBlock);
  CHECK(address_of(b) != victim);
  CHECK(address_of(b) != address_of(a));
  auto settle = settle_stage();
  REQUIRE(settle.run(batch).ok());
  REQUIRE(settle.verify().ok());
  CHECK(counters.bytes_gone == 6 * kBlock);
  CHECK(counters.bytes_copied == 2 * kBlock);
  CHECK((fs.read_all(b) == data));
}

TEST_CASE_METHOD(Differing, "a file that goes before its range is copied is not missed") {
  FaultPlan faults;
  faults.false_differs = 1;
  fs.set_faults(faults);
  // The first opening reads what is copied, the second is to share it.
  fs.set_on_call([&, dedupes = 0, opens = -1](std::string_view call) mutable {
    if (call == "dedupe" && ++dedupes == 2) fs.set_faults({});
    if (call == "create_temporary") opens = 0;
    if (call == "open" && opens >= 0 && ++opens == 2) REQUIRE(fs.remove(b).ok());
  });
  REQUIRE(apply(batch).ok());
  fs.set_on_call(nullptr);
  CHECK(batch.outcomes.at(0).verdict == Verdict::kChanged);
  CHECK(batch.outcomes.at(0).copied_bytes == 0);
  CHECK((fs.read_all(a) == one));
  CHECK((fs.read_all(other) == two));
}

TEST_CASE_METHOD(Pair, "a victim that differs as a whole is left as it is") {
  FaultPlan faults;
  faults.false_differs = 1;
  fs.set_faults(faults);
  REQUIRE(apply(batch).ok());
  CHECK(batch.outcomes.at(0).verdict == Verdict::kDiffers);
  CHECK(batch.outcomes.at(0).copied_bytes == 0);
  fs.set_faults({});
  CHECK(address_of(b) == victim);
}

TEST_CASE_METHOD(Pair, "a victim that stays is found again by others") {
  const auto blocks = batch.plans.at(0).victim_blocks;
  REQUIRE(blocks.size() == 4);
  const auto known = [&] {
    return std::count_if(blocks.begin(), blocks.end(), [&](const NewBlock& block) {
      const auto found = table->find(block.fingerprint);
      return std::find(found.begin(), found.end(), block.address) != found.end();
    });
  };
  CHECK(known() == 0);
  REQUIRE(fs.set_flags(b, btrfs::kInodeImmutable).ok());
  REQUIRE(apply(batch).ok());
  auto settle = settle_stage();
  REQUIRE(settle.run(batch).ok());
  REQUIRE(settle.verify().ok());
  CHECK(counters.bytes_gone == 0);
  CHECK(known() == 4);
}

TEST_CASE_METHOD(Pair, "a plan is dropped untouched once a stop is asked for") {
  stop = true;
  REQUIRE(apply(batch).ok());
  REQUIRE(batch.outcomes.size() == 1);
  CHECK_FALSE(batch.outcomes[0].begun);
  CHECK(batch.dropped);
  CHECK(fs.calls("dedupe") == 0);
  CHECK(fs.calls("create_temporary") == 0);
  auto settle = settle_stage();
  REQUIRE(settle.run(batch).ok());
  REQUIRE(settle.verify().ok());
  CHECK(settle.cursor().tier == 0);
  CHECK(settle.cursor().address == 0);
  CHECK(counters.bytes_gone == 0);
  CHECK(left_as(Verdict::kFreed) == 0);
  CHECK_FALSE(roles.going(victim));
  CHECK_FALSE(roles.pinned(address_of(a)));
  CHECK(address_of(b) == victim);
}

TEST_CASE_METHOD(Pipeline, "what no other extent holds is copied once, and is found afterwards") {
  const Bytes one = distinct_blocks(1, 6);
  const Bytes data = joined(part(one, 0, 3), distinct_blocks(2, 1));
  file(one);
  const std::uint64_t before = commit();
  const FileKey b = file(data), c = file({});
  REQUIRE(fs.reflink(b, 0, 4 * kBlock, c, 0).ok());
  const std::uint64_t victim = address_of(b);
  auto batches = plan(before);
  Batch& batch = batch_to_apply(batches);
  const auto fingerprints = batch.plans.at(0).copy_fingerprints;
  REQUIRE(fingerprints.size() == 1);
  REQUIRE(apply(batch).ok());
  CHECK(batch.outcomes.at(0).verdict == Verdict::kFreed);
  CHECK(batch.outcomes.at(0).copied_bytes == kBlock);
  REQUIRE(batch.new_blocks.size() == 1);
  CHECK(batch.new_blocks[0].fingerprint == fingerprints[0]);
  auto settle = settle_stage();
  REQUIRE(settle.run(batch).ok());
  REQUIRE(settle.verify().ok());
  CHECK(counters.bytes_gone == 4 * kBlock);
  CHECK(counters.bytes_copied == kBlock);
  CHECK(counters.freed_bytes() == 3 * kBlock);
  CHECK(fs.data_used() == 7 * kBlock);
  CHECK((fs.read_all(b) == data));
  CHECK((fs.read_all(c) == data));
  const auto map = map_of(fs, b);
  CHECK(map.extents.front().extent_address != victim);
  CHECK(map.extents.back().extent_address == map_of(fs, c).extents.back().extent_address);
  const auto& last = map.extents.back();
  CHECK(batch.new_blocks[0].address == last.extent_address + last.extent_offset);
  const auto found = table->find(fingerprints[0]);
  CHECK(std::find(found.begin(), found.end(), batch.new_blocks[0].address) != found.end());
}

TEST_CASE_METHOD(Pipeline, "a file that is cut before it is copied fails its own plan alone") {
  const Bytes one = distinct_blocks(1, 12);
  file(one);
  const std::uint64_t before = commit();
  const Bytes data = joined(part(one, 0, 4), distinct_blocks(2, 4));
  const FileKey whole = file(data);
  const FileKey cut =
      file(joined(joined(distinct_blocks(3, 2), part(one, 4, 4)), distinct_blocks(4, 2)));
  auto batches = plan(before);
  Batch& batch = batch_to_apply(batches);
  REQUIRE(batch.plans.size() == 2);
  REQUIRE(batch.plans[1].copies.size() == 2);
  REQUIRE(fs.truncate(cut, 7 * kBlock).ok());
  REQUIRE(apply(batch).ok());
  CHECK(batch.outcomes.at(0).verdict == Verdict::kFreed);
  CHECK(batch.outcomes.at(1).verdict == Verdict::kChanged);
  // What was copied before the end was met is nobody's, and not said to be anywhere.
  const auto map = map_of(fs, whole);
  REQUIRE(batch.new_blocks.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    const auto& last = map.extents.back();
    CHECK(batch.new_blocks[i].address == last.extent_address + last.extent_offset + i * kBlock);
  }
  CHECK((fs.read_all(whole) == data));
}

TEST_CASE_METHOD(Pipeline, "tails are shared with copies that end at the same byte") {
  std::vector<FileKey> files;
  std::vector<Bytes> datas;
  for (std::uint64_t i = 0; i < 5; ++i) {
    const Bytes data = head(distinct_blocks(10 + i, 4), 3 * kBlock + 100 + 7 * i);
    Bytes padded = data;
    padded.resize(4 * kBlock);
    file(padded);
    files.push_back(file(data));
    datas.push_back(data);
  }
  auto batches = plan();
  Batch& batch = batch_to_apply(batches);
  REQUIRE(batch.plans.size() == 5);
  for (const auto& plan : batch.plans) REQUIRE(plan.tails.size() == 1);
  REQUIRE(apply(batch).ok());
  for (const Outcome& outcome : batch.outcomes) CHECK(outcome.verdict == Verdict::kFreed);
  auto settle = settle_stage();
  REQUIRE(settle.run(batch).ok());
  REQUIRE(settle.verify().ok());
  CHECK(counters.bytes_gone == 5 * 4 * kBlock);
  CHECK(counters.not_gone == 0);
  CHECK(counters.bytes_copied == 5 * kBlock);
  for (std::size_t i = 0; i < files.size(); ++i) {
    INFO(i);
    CHECK((fs.read_all(files[i]) == datas[i]));
  }
  // Five keepers of four blocks, and one block for each tail.
  CHECK(fs.data_used() == 25 * kBlock);
}

TEST_CASE_METHOD(Pipeline, "tails of files with and without checksums are copied apart") {
  const Bytes data = head(distinct_blocks(1, 8), 7 * kBlock + 100);
  const Bytes other = head(distinct_blocks(2, 8), 7 * kBlock + 200);
  const auto padded = [](Bytes bytes) {
    bytes.resize(8 * kBlock);
    return bytes;
  };
  file(padded(data));
  const FileKey a = file(data);
  auto batches = plan();
  Batch& batch = batch_to_apply(batches);
  REQUIRE(batch.plans.size() == 1);
  const auto without = [&](const Bytes& bytes) {
    return fs.create(btrfs::kTopLevelRoot, bytes, btrfs::kInodeNodatasum | btrfs::kInodeNodatacow);
  };
  const FileKey keeper = without(padded(other)), b = without(other);
  const std::uint64_t victim = address_of(b);
  ReplacementPlan plan;
  plan.victim.address = victim;
  plan.victim.length = 8 * kBlock;
  plan.kind.nodatasum = true;
  plan.shares = {{SourceKind::kFile, FileHandle(keeper), 0, FileHandle(b), 0, 7 * kBlock},
                 {SourceKind::kTailCopy, {}, 0, FileHandle(b), 7 * kBlock, 200}};
  plan.tails = {{FileHandle(b), 7 * kBlock, 200}};
  plan.tail_fingerprints = {7};
  batch.plans.push_back(plan);
  REQUIRE(apply(batch).ok());
  for (const Outcome& outcome : batch.outcomes) CHECK(outcome.verdict == Verdict::kFreed);
  CHECK(batch.new_blocks.size() == 2);
  commit();
  for (const auto& extent : all_extents(fs)) CHECK(extent.address != victim);
  CHECK((fs.read_all(a) == data));
  CHECK((fs.read_all(b) == other));
}

TEST_CASE_METHOD(Pipeline, "a file of tails that cannot be cut fails the plans that need it") {
  const Bytes data = head(distinct_blocks(10, 4), 3 * kBlock + 100);
  Bytes padded = data;
  padded.resize(4 * kBlock);
  file(padded);
  const FileKey key = file(data);
  auto batches = plan();
  Batch& batch = batch_to_apply(batches);
  FaultPlan faults;
  faults.io_error = 1;
  fs.set_on_call(
      [&](std::string_view call) { fs.set_faults(call == "truncate" ? faults : FaultPlan{}); });
  REQUIRE(apply(batch).ok());
  fs.set_on_call(nullptr);
  fs.set_faults({});
  REQUIRE(batch.outcomes.size() == 1);
  CHECK(batch.outcomes[0].verdict == Verdict::kFailed);
  auto settle = settle_stage();
  REQUIRE(settle.run(batch).ok());
  REQUIRE(settle.verify().ok());
  CHECK(counters.bytes_gone == 0);
  CHECK((fs.read_all(key) == data));
}

TEST_CASE_METHOD(Pipeline, "zeros become holes when they are applied") {
  const FileKey a = file(zero_blocks(8));
  auto batches = plan();
  Batch& batch = batch_to_apply(batches);
  REQUIRE(apply(batch).ok());
  auto settle = settle_stage();
  REQUIRE(settle.run(batch).ok());
  REQUIRE(settle.verify().ok());
  CHECK(counters.bytes_zero == 8 * kBlock);
  CHECK(counters.bytes_gone == 8 * kBlock);
  CHECK(fs.data_used() == 0);
  CHECK((fs.read_all(a) == zero_blocks(8)));
}

TEST_CASE_METHOD(Pipeline, "running out of space ends the run, and changes no content") {
  const Bytes one = distinct_blocks(1, 6);
  const Bytes data = joined(part(one, 0, 3), distinct_blocks(2, 1));
  file(one);
  const std::uint64_t before = commit();
  const FileKey b = file(data);
  const std::uint64_t victim = address_of(b);
  auto batches = plan(before);
  FaultPlan faults;
  faults.no_space = 1;
  fs.set_faults(faults);
  Batch& batch = batch_to_apply(batches);
  CHECK(absl::IsResourceExhausted(apply(batch)));
  REQUIRE(batch.outcomes.size() == 1);
  CHECK(batch.outcomes[0].verdict == Verdict::kFailed);
  fs.set_faults({});
  CHECK((fs.read_all(b) == data));
  CHECK(address_of(b) == victim);
}

// A batch that only moves the cursor.
Batch step(std::uint64_t number, std::uint64_t next_address, bool dropped = false) {
  Batch batch;
  batch.number = number;
  batch.tier = 3;
  batch.next_address = next_address;
  batch.dropped = dropped;
  return batch;
}

TEST_CASE_METHOD(Pipeline, "the cursor waits for batches that are still under way") {
  auto settle = settle_stage();
  Batch zero = step(0, 100), one = step(1, 200), two = step(2, 300);
  REQUIRE(settle.run(one).ok());
  CHECK(settle.cursor().address == 0);
  REQUIRE(settle.run(two).ok());
  CHECK(settle.cursor().address == 0);
  REQUIRE(settle.run(zero).ok());
  CHECK(settle.cursor().address == 300);
  CHECK(settle.cursor().tier == 3);
}

TEST_CASE_METHOD(Pipeline, "the cursor stays before a batch that was dropped") {
  auto settle = settle_stage();
  Batch zero = step(0, 100), one = step(1, 200, true), two = step(2, 300);
  REQUIRE(settle.run(two).ok());
  REQUIRE(settle.run(zero).ok());
  CHECK(settle.cursor().address == 100);
  REQUIRE(settle.run(one).ok());
  CHECK(settle.cursor().address == 100);
  Batch three = step(3, 400);
  REQUIRE(settle.run(three).ok());
  CHECK(settle.cursor().address == 100);
}

TEST_CASE_METHOD(Pipeline, "every extent leaves with one verdict, and they add up") {
  const Bytes one = distinct_blocks(1, 6);
  file(one);
  file(one);
  file(distinct_blocks(2, 3));
  file(joined(part(one, 0, 3), distinct_blocks(3, 1)));
  file(zero_blocks(2));
  auto batches = plan();
  auto settle = settle_stage();
  for (Batch& batch : batches) {
    REQUIRE(apply(batch).ok());
    REQUIRE(settle.run(batch).ok());
  }
  REQUIRE(settle.verify().ok());
  std::uint64_t extents = 0, bytes = 0;
  for (const auto& tally : counters.verdicts) {
    extents += tally.extents;
    bytes += tally.bytes;
  }
  CHECK(extents == 5);
  CHECK(extents == counters.extents_scanned);
  CHECK(bytes == counters.bytes_scanned);
}

}  // namespace
}  // namespace skep::dedupe
