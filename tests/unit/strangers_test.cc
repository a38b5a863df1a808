// SPDX-License-Identifier: MIT
#include "skep/dedupe/strangers.h"

#include "collision.h"
#include "pipeline.h"
#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix
using btrfs::FileKey;

// The block's `number`-th double with its crc32c.
Bytes forged(const Bytes& block, std::size_t number) {
  Bytes out = block;
  change_without_checksum(out, 1000 + 8 * number);
  return out;
}

struct Forged : Pipeline {
  const Bytes base = distinct_blocks(1, 1);
  const index::Fingerprint fingerprint = fingerprinter.from_block(base, false);

  void look_into(FileKey one, FileKey other, std::uint64_t blocks) {
    const auto a = fs.open(btrfs::FileHandle(one)), b = fs.open(btrfs::FileHandle(other));
    REQUIRE(a.ok());
    REQUIRE(b.ok());
    strangers.look_into({**a, 0}, {**b, 0}, blocks * kBlock);
  }
};

TEST_CASE_METHOD(Forged,
                 "a fingerprint says nothing once eight pairs of blocks had it and differed") {
  const FileKey one = file(base);
  for (std::size_t i = 0; i < Strangers::kEnough; ++i) {
    CHECK_FALSE(strangers.frequent(fingerprint));
    look_into(one, file(forged(base, i)), 1);
  }
  CHECK(strangers.frequent(fingerprint));
  CHECK_FALSE(strangers.frequent(fingerprinter.from_block(distinct_blocks(2, 1), false)));
  CHECK(counters.stranger_pairs == Strangers::kEnough);
}

TEST_CASE_METHOD(Forged, "the block that differs is found behind equal ones") {
  const Bytes before = distinct_blocks(2, 5);
  look_into(file(joined(before, base)), file(joined(before, forged(base, 0))), 6);
  CHECK(counters.stranger_pairs == 1);
}

TEST_CASE_METHOD(Forged, "what was written meanwhile, or cut, is no stranger") {
  const FileKey one = file(base);
  for (std::uint64_t i = 0; i < 2 * Strangers::kEnough; ++i) {
    look_into(one, file(distinct_blocks(2 + i, 1)), 1);
    look_into(one, file(part(base, 0, 0)), 1);
    look_into(one, file(base), 1);
  }
  CHECK(counters.stranger_pairs == 0);
  CHECK_FALSE(strangers.frequent(fingerprint));
}

TEST_CASE_METHOD(Forged, "what fingerprints are remembered of is bounded, and the latest are") {
  for (std::uint64_t i = 0; i <= limits::kStrangers; ++i) {
    const Bytes block = distinct_blocks(100 + i, 1);
    const FileKey a = file(block), b = file(forged(block, 0));
    look_into(a, b, 1);
    REQUIRE(fs.remove(a).ok());
    REQUIRE(fs.remove(b).ok());
  }
  const FileKey one = file(base);
  for (std::size_t i = 0; i < Strangers::kEnough; ++i) look_into(one, file(forged(base, i)), 1);
  CHECK(strangers.frequent(fingerprint));
}

TEST_CASE_METHOD(Forged,
                 "forged blocks are compared until it is known that they are, and then left") {
  std::vector<FileKey> files;
  for (std::size_t i = 0; i < 80; i += 2) {
    files.push_back(file(joined(forged(base, i), forged(base, i + 1))));
  }
  auto first = plan();
  auto settle = settle_stage();
  for (auto& batch : first) {
    REQUIRE(apply(batch).ok());
    REQUIRE(settle.run(batch).ok());
  }
  CHECK(counters.share_differs >= Strangers::kEnough);
  CHECK(strangers.frequent(fingerprint));
  const std::uint64_t looked_at = counters.share_differs;
  roles.forget_keepers();
  auto second = plan();
  CHECK(plans_of(second).empty());
  CHECK(verdict_on(second, address_of(files.front())) == Verdict::kUnique);
  CHECK(counters.share_differs == looked_at);
  CHECK(counters.searches_passed_over >= 80);
}

TEST_CASE_METHOD(Forged, "what was planned before it was known is not compared any more") {
  const FileKey one = file(base);
  file(joined(forged(base, 20), forged(base, 21)));
  file(joined(forged(base, 22), forged(base, 23)));
  auto batches = plan();
  REQUIRE(plans_of(batches).size() == 2);
  for (std::size_t i = 0; i < Strangers::kEnough; ++i) look_into(one, file(forged(base, i)), 1);
  std::size_t differ = 0;
  for (auto& batch : batches) {
    REQUIRE(apply(batch).ok());
    for (const Outcome& outcome : batch.outcomes) differ += outcome.verdict == Verdict::kDiffers;
  }
  CHECK(differ == 2);
  CHECK(counters.share_ranges == 0);
}

TEST_CASE_METHOD(Forged, "a block that has strangers is shared beside others that have none") {
  const FileKey one = file(base);
  for (std::size_t i = 0; i < Strangers::kEnough; ++i) look_into(one, file(forged(base, i)), 1);
  const Bytes data = joined(joined(distinct_blocks(2, 2), base), distinct_blocks(3, 2));
  file(data);
  const std::uint64_t before = commit();
  const FileKey copy = file(data);
  const auto plans = plans_of(plan(before));
  REQUIRE(plans.size() == 1);
  CHECK(plans[0].victim.address == address_of(copy));
  REQUIRE(plans[0].shares.size() == 1);
  CHECK(plans[0].shares[0].length == 5 * kBlock);
}

TEST_CASE_METHOD(Forged, "zeros are shared whatever else has their checksum") {
  const Bytes zeros = zero_blocks(1);
  const FileKey one = file(zeros);
  for (std::size_t i = 0; i < Strangers::kEnough; ++i) look_into(one, file(forged(zeros, i)), 1);
  CHECK(strangers.frequent(fingerprinter.zero()));
  const std::uint64_t before = commit();
  file(zero_blocks(4));
  CHECK(plans_of(plan(before)).size() == 1);
}

TEST_CASE_METHOD(Forged, "with fingerprints of 64 bits nothing is looked into") {
  const index::Fingerprinter of_data(fs.info(), index::FingerprintKind::kData);
  Strangers none(of_data, kBlock, counters);
  const auto a = fs.open(btrfs::FileHandle(file(base))),
             b = fs.open(btrfs::FileHandle(file(forged(base, 0))));
  REQUIRE(a.ok());
  REQUIRE(b.ok());
  const std::uint64_t before = fs.calls("read");
  none.look_into({**a, 0}, {**b, 0}, kBlock);
  CHECK(fs.calls("read") == before);
  strangers.look_into({**a, 0}, {**b, 0}, kBlock);
  CHECK(fs.calls("read") == before + 2);
}

}  // namespace
}  // namespace skep::dedupe
