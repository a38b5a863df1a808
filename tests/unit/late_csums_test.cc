// SPDX-License-Identifier: MIT
//
// What is written into extents after they were looked at.
#include "skep/dedupe/late_csums.h"

#include "pipeline.h"
#include "skep/dedupe/limits.h"
#include "skep/dedupe/rounds.h"

namespace skep::dedupe {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix
using Addresses = std::vector<std::uint64_t>;

struct Late : Pipeline {
  std::function<bool()> asked_to_stop = [this] { return stop.load(); };

  btrfs::FileKey reserve(std::size_t blocks) {
    const auto key = file({});
    REQUIRE(fs.fallocate(key, 0, blocks * kBlock).ok());
    return key;
  }
  void write(btrfs::FileKey key, std::size_t block, const Bytes& data) {
    REQUIRE(fs.write(key, block * kBlock, data).ok());
  }
  // As a pass does; returns its generation.
  std::uint64_t index() {
    const std::uint64_t to = commit();
    REQUIRE(scan(fs, fingerprinter, {0, to}, *table, asked_to_stop).ok());
    return to;
  }
  absl::Status run(std::uint64_t after, LateCsums::Look look, SizeLimits lengths = {}) {
    return LateCsums(fs, fingerprinter, *table, lengths, nullptr, asked_to_stop).run(after, look);
  }
  Addresses found(std::uint64_t after, SizeLimits lengths = {}) {
    Addresses out;
    const auto status = run(
        after,
        [&](const Addresses& some) {
          out.insert(out.end(), some.begin(), some.end());
          return absl::OkStatus();
        },
        lengths);
    CHECK(status.ok());
    return out;
  }
};

TEST_CASE_METHOD(Late, "an extent that was written after it was looked at is found, once") {
  file(distinct_blocks(1, 4));
  const auto reserved = reserve(8);
  reserve(4);  // and not written
  const std::uint64_t looked_at = index();
  CHECK(found(looked_at).empty());
  write(reserved, 2, distinct_blocks(2, 3));
  commit();
  CHECK(found(looked_at) == Addresses{address_of(reserved)});
  CHECK(found(looked_at).empty());
  // The rest of it.
  write(reserved, 0, distinct_blocks(3, 2));
  commit();
  CHECK(found(looked_at) == Addresses{address_of(reserved)});
}

TEST_CASE_METHOD(Late, "new extents are not late, whether they are in the table or not") {
  const std::uint64_t looked_at = index();
  file(distinct_blocks(1, 4));
  commit();
  CHECK(found(looked_at).empty());
  index();
  CHECK(found(looked_at).empty());
}

TEST_CASE_METHOD(Late,
                 "zeros, lengths that are left out and what the table is full of are not late") {
  const auto zeros = reserve(4), small = reserve(2), crowd = reserve(1);
  for (std::size_t i = 0; i < index::Table::kMaxSame; ++i) file(distinct_blocks(1, 1));
  const std::uint64_t looked_at = index();
  write(zeros, 0, zero_blocks(4));
  write(small, 0, distinct_blocks(2, 2));
  write(crowd, 0, distinct_blocks(1, 1));
  commit();
  CHECK(found(looked_at, {4 * kBlock, UINT64_MAX}).empty());
  CHECK(found(looked_at) == Addresses{address_of(small)});
}

TEST_CASE_METHOD(Late, "what could not be looked at is found again") {
  const auto reserved = reserve(4);
  const std::uint64_t looked_at = index();
  write(reserved, 0, distinct_blocks(1, 4));
  commit();
  const auto status = run(looked_at, [](const Addresses&) { return absl::CancelledError("stop"); });
  CHECK(absl::IsCancelled(status));
  CHECK(found(looked_at) == Addresses{address_of(reserved)});
}

TEST_CASE_METHOD(Late, "many are looked at in portions, each once") {
  std::vector<btrfs::FileKey> files;
  for (std::size_t i = 0; i < limits::kLateExtents + 1000; ++i) {
    files.push_back(reserve(2));
    file(distinct_blocks(1'000'000 + i, 1));  // between them
  }
  const std::uint64_t looked_at = index();
  for (std::size_t i = 0; i < files.size(); ++i) write(files[i], 0, distinct_blocks(i, 2));
  commit();
  std::size_t calls = 0;
  Addresses all;
  REQUIRE(run(looked_at, [&](const Addresses& some) {
            ++calls;
            CHECK(some.size() < limits::kDeferred);
            all.insert(all.end(), some.begin(), some.end());
            return absl::OkStatus();
          }).ok());
  CHECK(calls > 1);
  CHECK(all.size() == files.size());
  CHECK(std::adjacent_find(all.begin(), all.end(), std::greater_equal<>()) == all.end());
}

TEST_CASE_METHOD(Late, "errors and a stop end it") {
  const std::uint64_t looked_at = index();
  const auto look = [](const Addresses&) { return absl::OkStatus(); };
  btrfs::FaultPlan plan;
  plan.io_error = 1;
  fs.set_faults(plan);
  CHECK_FALSE(run(looked_at, look).ok());
  fs.set_faults({});
  file(distinct_blocks(1, 1));
  commit();
  stop = true;
  CHECK(absl::IsCancelled(run(looked_at, look)));
}

TEST_CASE_METHOD(Late, "a round frees what was written into space that the one before looked at") {
  const Bytes data = distinct_blocks(1, 40);
  file(data);
  const auto reserved = reserve(40), other = reserve(20);
  Position position;
  Rounds rounds({fs, fingerprinter, *table, counters, options, stop}, position, {});
  REQUIRE(rounds.run().ok());
  CHECK(counters.bytes_gone == 0);
  write(reserved, 0, part(data, 0, 30));
  REQUIRE(rounds.run().ok());
  CHECK(counters.bytes_gone == 0);  // a part of it is not written yet
  write(reserved, 30, part(data, 30, 10));
  write(other, 0, part(data, 5, 20));
  REQUIRE(rounds.run().ok());
  CHECK(counters.bytes_gone == 60 * kBlock);
  CHECK(fs.read_all(reserved) == data);
  CHECK(counters.extents_late == 3);
}

}  // namespace
}  // namespace skep::dedupe
