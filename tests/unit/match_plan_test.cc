// SPDX-License-Identifier: MIT
//
// What is found elsewhere, who goes, and how: the match and the plan stage together.
#include "../../src/dedupe/plan_builder.h"
#include "pipeline.h"

namespace skep::dedupe {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix
using btrfs::FileKey;

TEST_CASE_METHOD(Pipeline, "of two equal extents the first in the crawl stays") {
  const FileKey a = file(distinct_blocks(1, 4)), b = file(distinct_blocks(1, 4));
  const auto batches = plan();
  const auto plans = plans_of(batches);
  REQUIRE(plans.size() == 1);
  CHECK(plans[0].victim.address == address_of(b));
  CHECK(verdict_on(batches, address_of(a)) == Verdict::kKeeper);
  REQUIRE(plans[0].shares.size() == 1);
  const Share& share = plans[0].shares[0];
  CHECK(share.kind == SourceKind::kFile);
  CHECK(share.source == a);
  CHECK(share.source_offset == 0);
  CHECK(share.target == b);
  CHECK(share.target_offset == 0);
  CHECK(share.length == 4 * kBlock);
  CHECK(plans[0].keepers == std::vector<std::uint64_t>{address_of(a)});
  CHECK(plans[0].copied_bytes == 0);
  CHECK(plans[0].duplicate_bytes == 4 * kBlock);
  CHECK(roles.going(address_of(b)));
  CHECK(roles.pinned(address_of(a)));
}

TEST_CASE_METHOD(Pipeline, "what is stored once is left as unique") {
  const FileKey a = file(distinct_blocks(1, 4)), b = file(distinct_blocks(2, 4));
  const auto batches = plan();
  CHECK(plans_of(batches).empty());
  CHECK(verdict_on(batches, address_of(a)) == Verdict::kUnique);
  CHECK(verdict_on(batches, address_of(b)) == Verdict::kUnique);
}

TEST_CASE_METHOD(Pipeline, "an extent goes in runs, each to the extent that holds it") {
  const Bytes one = distinct_blocks(1, 6), two = distinct_blocks(2, 6);
  const FileKey a = file(one), b = file(two);
  const std::uint64_t before = commit();
  const FileKey c = file(joined(part(one, 1, 3), part(two, 2, 3)));
  const auto plans = plans_of(plan(before));
  REQUIRE(plans.size() == 1);
  CHECK(plans[0].victim.address == address_of(c));
  REQUIRE(plans[0].shares.size() == 2);
  CHECK(plans[0].shares[0].source == a);
  CHECK(plans[0].shares[0].source_offset == kBlock);
  CHECK(plans[0].shares[0].length == 3 * kBlock);
  CHECK(plans[0].shares[1].source == b);
  CHECK(plans[0].shares[1].source_offset == 2 * kBlock);
  CHECK(plans[0].shares[1].target_offset == 3 * kBlock);
  CHECK(plans[0].copied_bytes == 0);
  CHECK(plans[0].fragments == 1);
}

TEST_CASE_METHOD(Pipeline, "blocks of zeros become holes") {
  const Bytes one = distinct_blocks(1, 6);
  file(one);
  const std::uint64_t before = commit();
  const FileKey b = file(joined(joined(part(one, 0, 2), zero_blocks(1)), part(one, 2, 2)));
  const FileKey c = file(zero_blocks(4));
  const auto plans = plans_of(plan(before));
  REQUIRE(plans.size() == 2);
  CHECK(plans[0].victim.address == address_of(b));
  REQUIRE(plans[0].shares.size() == 3);
  CHECK(plans[0].shares[1].kind == SourceKind::kZero);
  CHECK(plans[0].shares[1].target_offset == 2 * kBlock);
  CHECK(plans[0].shares[1].length == kBlock);
  CHECK(plans[0].zero_bytes == kBlock);
  CHECK(plans[1].victim.address == address_of(c));
  REQUIRE(plans[1].shares.size() == 1);
  CHECK(plans[1].shares[0].kind == SourceKind::kZero);
  CHECK(plans[1].shares[0].length == 4 * kBlock);
  CHECK(plans[1].zero_bytes == 4 * kBlock);
}

TEST_CASE_METHOD(Pipeline, "a settled extent goes to a larger one that holds all of it") {
  const Bytes large = distinct_blocks(1, 40);
  const FileKey a = file(part(large, 8, 4));
  const std::uint64_t before = commit();
  const FileKey b = file(large);
  const auto batches = plan(before);
  const auto plans = plans_of(batches);
  REQUIRE(plans.size() == 1);
  CHECK(plans[0].victim.address == address_of(a));
  REQUIRE(plans[0].shares.size() == 1);
  CHECK(plans[0].shares[0].source == b);
  CHECK(plans[0].shares[0].source_offset == 8 * kBlock);
  CHECK(verdict_on(batches, address_of(b)) == Verdict::kKeeper);
  CHECK(counters.role_swaps == 1);
}

TEST_CASE_METHOD(Pipeline, "an extent that goes without a copy is not swapped") {
  const Bytes large = distinct_blocks(1, 8);
  const FileKey a = file(part(large, 0, 4));
  const FileKey b = file(part(large, 4, 4));
  const std::uint64_t before = commit();
  const FileKey c = file(large);
  const auto plans = plans_of(plan(before));
  REQUIRE(plans.size() == 1);
  CHECK(plans[0].victim.address == address_of(c));
  REQUIRE(plans[0].shares.size() == 2);
  CHECK(plans[0].shares[0].source == a);
  CHECK(plans[0].shares[1].source == b);
  CHECK(counters.role_swaps == 0);
}

TEST_CASE_METHOD(Pipeline, "dead space costs nothing, and makes going worth more than staying") {
  const Bytes data = distinct_blocks(1, 8);
  const FileKey a = file(data);
  const std::uint64_t victim = address_of(a);
  REQUIRE(fs.write(a, 0, distinct_blocks(2, 4)).ok());
  const FileKey b = file(part(data, 4, 4));
  const auto plans = plans_of(plan());
  REQUIRE(plans.size() == 1);
  CHECK(plans[0].victim.address == victim);
  CHECK(plans[0].victim.length == 8 * kBlock);
  CHECK(plans[0].copies.empty());
  REQUIRE(plans[0].shares.size() == 1);
  CHECK(plans[0].shares[0].source == b);
  CHECK(plans[0].shares[0].target_offset == 4 * kBlock);
  CHECK(plans[0].shares[0].length == 4 * kBlock);
}

TEST_CASE_METHOD(Pipeline, "what is not to go after all lets go of its keepers last") {
  const Bytes half = distinct_blocks(1, 2);
  const FileKey large = file(joined(half, distinct_blocks(2, 6)));
  const FileKey small = file(joined(half, distinct_blocks(3, 1)));
  int seen = 0;
  on_kept = [&] {
    ++seen;
    CHECK(roles.going(address_of(large)));
    CHECK(roles.pinned(address_of(small)));
  };
  plan();
  CHECK(seen > 0);
  CHECK_FALSE(roles.going(address_of(large)));
}

TEST_CASE_METHOD(Pipeline, "what nobody else holds is copied, within the ratio") {
  const Bytes one = distinct_blocks(1, 6);
  file(one);
  const std::uint64_t before = commit();
  const FileKey b = file(joined(part(one, 0, 3), distinct_blocks(2, 1)));
  SECTION("a block copied for three that are freed is within 1") {
    const auto plans = plans_of(plan(before));
    REQUIRE(plans.size() == 1);
    CHECK(plans[0].copied_bytes == kBlock);
    REQUIRE(plans[0].copies.size() == 1);
    CHECK(plans[0].copies[0].from == b);
    CHECK(plans[0].copies[0].offset == 3 * kBlock);
    CHECK(plans[0].copies[0].length == kBlock);
    CHECK(plans[0].copy_fingerprints.size() == 1);
    REQUIRE(plans[0].shares.size() == 2);
    CHECK(plans[0].shares[1].kind == SourceKind::kCopy);
    CHECK(plans[0].shares[1].source_offset == 0);
  }
  SECTION("a lower ratio refuses it") {
    options.max_copy_ratio = GENERATE(0.0, 0.2, 0.3);
    const auto batches = plan(before);
    CHECK(plans_of(batches).empty());
    CHECK(verdict_on(batches, address_of(b)) == Verdict::kCopyRatio);
    CHECK_FALSE(roles.going(address_of(b)));
  }
}

TEST_CASE_METHOD(Pipeline, "an extent of which most is stored nowhere else is not copied") {
  const Bytes one = distinct_blocks(1, 12);
  file(one);
  const std::uint64_t before = commit();
  const FileKey b = file(joined(part(one, 0, 2), distinct_blocks(2, 6)));
  const auto batches = plan(before);
  CHECK(plans_of(batches).empty());
  CHECK(verdict_on(batches, address_of(b)) == Verdict::kCopyRatio);
}

TEST_CASE_METHOD(Pipeline, "runs shorter than the least are not shared, but for whole extents") {
  const Bytes one = distinct_blocks(1, 6);
  file(one);
  const std::uint64_t before = commit();
  const FileKey b = file(joined(part(one, 0, 3), distinct_blocks(2, 1)));
  const FileKey c = file(part(one, 4, 2));
  options.min_run_bytes = 4 * kBlock;
  const auto batches = plan(before);
  const auto plans = plans_of(batches);
  CHECK(verdict_on(batches, address_of(b)) == Verdict::kShortRuns);
  REQUIRE(plans.size() == 1);
  CHECK(plans[0].victim.address == address_of(c));
}

TEST_CASE_METHOD(Pipeline, "tails that end at the same byte are shared with the blocks before") {
  const Bytes data = head(distinct_blocks(1, 5), 4 * kBlock + 100);
  const FileKey a = file(data), b = file(data);
  const auto plans = plans_of(plan());
  REQUIRE(plans.size() == 1);
  CHECK(plans[0].victim.address == address_of(b));
  REQUIRE(plans[0].shares.size() == 1);
  CHECK(plans[0].shares[0].source == a);
  CHECK(plans[0].shares[0].length == data.size());
  CHECK(plans[0].tails.empty());
  CHECK(plans[0].copied_bytes == 0);
}

TEST_CASE_METHOD(Pipeline, "a tail that ends at another byte than its equals is copied") {
  const Bytes data = head(distinct_blocks(1, 5), 4 * kBlock + 100);
  Bytes padded = data;
  padded.resize(5 * kBlock);  // the same checksum, but no end inside the block
  file(padded);
  const FileKey b = file(data);
  const auto plans = plans_of(plan());
  REQUIRE(plans.size() == 1);
  CHECK(plans[0].victim.address == address_of(b));
  REQUIRE(plans[0].tails.size() == 1);
  CHECK(plans[0].tails[0].from == b);
  CHECK(plans[0].tails[0].offset == 4 * kBlock);
  CHECK(plans[0].tails[0].length == 100);
  CHECK(plans[0].tail_fingerprints.size() == 1);
  CHECK(plans[0].copied_bytes == kBlock);
  REQUIRE(plans[0].shares.size() == 2);
  CHECK(plans[0].shares[1].kind == SourceKind::kTailCopy);
  CHECK(plans[0].shares[1].length == 100);
}

TEST_CASE_METHOD(Pipeline, "an extent that is nothing but such a tail is left") {
  Bytes data = head(distinct_blocks(1, 1), 100);
  const FileKey b = [&] {
    Bytes padded = data;
    padded.resize(kBlock);
    file(padded);
    return file(data);
  }();
  const auto batches = plan();
  CHECK(plans_of(batches).empty());
  CHECK(verdict_on(batches, address_of(b)) == Verdict::kTailOnly);
}

TEST_CASE_METHOD(Pipeline,
                 "what lies past the end of its file, or of the extent, is not replaced") {
  Match match;
  match.victim.extent.address = 1 << 20;
  match.victim.extent.length = 4 * kBlock;
  match.victim.blocks = {1, 2, 3, 4};
  const FileKey key = file({});
  const auto builds = [&](const Reference& reference) {
    ReplacementPlan plan;
    const std::vector<Reference> references{reference};
    return PlanBuilder(match, references, catalog, roles, *table, fingerprinter, kBlock, 0)
        .build(plan);
  };
  CHECK(builds({btrfs::FileHandle(key), 0, 0, 4 * kBlock, 4 * kBlock}));
  CHECK_FALSE(builds({btrfs::FileHandle(key), 0, 0, 4 * kBlock, 0}));
  CHECK_FALSE(builds({btrfs::FileHandle(key), 8 * kBlock, 0, 4 * kBlock, 8 * kBlock}));
  CHECK_FALSE(builds({btrfs::FileHandle(key), 0, 0, 4 * kBlock, 2 * kBlock}));
  CHECK_FALSE(builds({btrfs::FileHandle(key), 0, 2 * kBlock, 4 * kBlock, 4 * kBlock}));
}

TEST_CASE_METHOD(Pipeline, "an address that is used anew while its extent is planned is left") {
  const Bytes data = distinct_blocks(1, 2);
  file(data);
  const FileKey b = file(data), behind = file(distinct_blocks(3, 2));
  const std::uint64_t victim = address_of(b);
  // After a snapshot extents do not tell all their files themselves: they are asked for by address.
  REQUIRE(fs.remove_subvolume(fs.snapshot(btrfs::kTopLevelRoot)).ok());
  // A longer extent, and its file ends inside a block that the planned one does not have.
  FileKey anew{};
  fs.set_on_call([&](std::string_view call) {
    if (call != "logical_ino" || anew != FileKey{}) return;
    REQUIRE((fs.remove(b).ok() && fs.remove(behind).ok()));
    fs.set_on_call(nullptr);
    commit();
    anew = file(head(distinct_blocks(2, 4), 3 * kBlock + 100));
    commit();
  });
  const auto batches = plan();
  REQUIRE(address_of(anew) == victim);
  CHECK(plans_of(batches).empty());
  CHECK(verdict_on(batches, victim) == Verdict::kChanged);
  CHECK((fs.read_all(anew) == head(distinct_blocks(2, 4), 3 * kBlock + 100)));
}

TEST_CASE_METHOD(Pipeline, "a file whose checksums are turned off meanwhile is left") {
  file(distinct_blocks(1, 4));
  const FileKey b = file(distinct_blocks(1, 4));
  REQUIRE(fs.set_flags(b, btrfs::kInodeNodatasum).ok());
  const auto batches = plan();
  CHECK(plans_of(batches).empty());
  CHECK(verdict_on(batches, address_of(b)) == Verdict::kNodatasum);
}

// Of a large extent only the end is used, and a small one holds what came before it.
TEST_CASE_METHOD(Pipeline,
                 "what a keeper's dead space holds is put off, as long as there is room") {
  const Bytes data = distinct_blocks(1, 32);
  const FileKey a = file(data);
  REQUIRE(fs.punch(a, 0, 24 * kBlock).ok());
  const std::uint64_t before = commit();
  const FileKey b = file(part(data, 0, 24));
  std::vector<Batch> batches;
  SECTION("both are looked at again") {
    batches = plan(before);
    CHECK(verdict_on(batches, address_of(b)) == Verdict::kFreed);  // it has not left yet
    CHECK(roles.take_deferred().size() == 2);
  }
  SECTION("with no room it is left now") {
    for (std::uint64_t i = 0; i < limits::kDeferred; ++i) roles.defer(i, kBlock, Verdict::kUnique);
    batches = plan(before);
    CHECK(verdict_on(batches, address_of(b)) == Verdict::kCopyRatio);
    CHECK(roles.take_deferred().size() == limits::kDeferred);
  }
  CHECK(plans_of(batches).empty());
}

TEST_CASE_METHOD(Pipeline, "every reference to the victim is replaced, parts of it too") {
  const FileKey a = file(distinct_blocks(1, 4)), b = file(distinct_blocks(1, 4));
  const FileKey c = file({});
  REQUIRE(fs.reflink(b, kBlock, 2 * kBlock, c, 0).ok());
  const auto plans = plans_of(plan());
  REQUIRE(plans.size() == 1);
  REQUIRE(plans[0].shares.size() == 2);
  const Share& of_c = plans[0].shares[plans[0].shares[0].target == c ? 0 : 1];
  CHECK(of_c.target == c);
  CHECK(of_c.source == a);
  CHECK(of_c.source_offset == kBlock);
  CHECK(of_c.target_offset == 0);
  CHECK(of_c.length == 2 * kBlock);
}

TEST_CASE_METHOD(Pipeline, "small files under many snapshots cost more metadata than they free") {
  const std::uint64_t root = fs.add_subvolume();
  file(distinct_blocks(1, 4));
  const FileKey b = fs.create(root, distinct_blocks(1, 4));
  SECTION("without snapshots they go") { CHECK(plans_of(plan()).size() == 1); }
  SECTION("under ten they stay") {
    for (int i = 0; i < 10; ++i) fs.snapshot(root);
    const auto batches = plan();
    CHECK(plans_of(batches).empty());
    CHECK(verdict_on(batches, address_of(b)) == Verdict::kMetadataPrice);
    CHECK_FALSE(roles.going(address_of(b)));
    CHECK_FALSE(roles.pinned(address_of(b)));
  }
}

TEST_CASE_METHOD(Pipeline, "a large extent is worth the metadata of its snapshots") {
  const std::uint64_t root = fs.add_subvolume();
  file(distinct_blocks(1, 512));
  const FileKey b = fs.create(root, distinct_blocks(1, 512));
  for (int i = 0; i < 10; ++i) fs.snapshot(root);
  const auto plans = plans_of(plan());
  REQUIRE(plans.size() == 1);
  CHECK(plans[0].victim.address == address_of(b));
  CHECK(plans[0].shares.size() == 11);
  CHECK(plans[0].price_bytes > 10 * 16384);
}

TEST_CASE_METHOD(Pipeline, "extents that cannot be replaced are left, and say why") {
  file(distinct_blocks(1, 4));
  SECTION("an immutable file") {
    const FileKey b = file(distinct_blocks(1, 4));
    REQUIRE(fs.set_flags(b, btrfs::kInodeImmutable).ok());
    const auto batches = plan();
    CHECK(plans_of(batches).empty());
    CHECK(verdict_on(batches, address_of(b)) == Verdict::kImmutable);
  }
  SECTION("a file without checksums") {
    const FileKey b = fs.create(btrfs::kTopLevelRoot, distinct_blocks(1, 4),
                                btrfs::kInodeNodatasum | btrfs::kInodeNodatacow);
    const auto batches = plan();
    CHECK(plans_of(batches).empty());
    CHECK(verdict_on(batches, address_of(b)) == Verdict::kNoChecksum);
  }
}

}  // namespace
}  // namespace skep::dedupe
