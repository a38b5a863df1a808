// SPDX-License-Identifier: MIT
#include "skep/dedupe/explainer.h"

#include "catch.h"
#include "pipeline.h"

namespace skep::dedupe {
namespace {

using skep::testing::Bytes;
using skep::testing::distinct_blocks;
using skep::testing::kBlock;
using skep::testing::part;
using skep::testing::Pipeline;
using skep::testing::plans_of;
using skep::testing::zero_blocks;

btrfs::Extent extent_at(Pipeline& p, std::uint64_t address) {
  auto page = p.fs.extents(address, address, 4096);
  REQUIRE(page.ok());
  REQUIRE(page->extents.size() == 1);
  return page->extents.front();
}

void fill_table(Pipeline& p) {
  const Window window{0, p.commit()};
  REQUIRE(scan(p.fs, p.fingerprinter, window, *p.table, [] { return false; }).ok());
}

Explanation explain(Explainer& explainer, Pipeline& p, btrfs::FileKey file) {
  auto out = explainer.explain(extent_at(p, p.address_of(file)));
  INFO(out.status());
  REQUIRE(out.ok());
  return *std::move(out);
}

Explainer explainer_of(Pipeline& p, Explainer::Done done = {}) {
  return {p.fs, p.fingerprinter, *p.table, p.options, done};
}

Bytes joined(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST_CASE("of two copies the explainer says what a pass decides") {
  Pipeline p;
  const auto a = p.file(distinct_blocks(1, 16));
  const auto b = p.file(distinct_blocks(1, 16));
  const auto alone = p.file(distinct_blocks(2, 16));
  fill_table(p);
  auto explainer = explainer_of(p);
  const Explanation of_a = explain(explainer, p, a), of_b = explain(explainer, p, b);
  CHECK(of_a.verdict == Verdict::kKeeper);
  CHECK(of_b.verdict == Verdict::kFreed);
  REQUIRE(of_b.runs.size() == 1);
  CHECK(of_b.runs.front().source == p.address_of(a));
  CHECK(of_b.runs.front().blocks == 16);
  CHECK(explain(explainer, p, alone).verdict == Verdict::kUnique);
  const auto plans = plans_of(p.plan());
  REQUIRE(plans.size() == 1);
  CHECK(plans.front().victim.address == p.address_of(b));
}

TEST_CASE("what is asked twice is answered alike, and the table has all that it had") {
  Pipeline p;
  const auto a = p.file(distinct_blocks(1, 16));
  const auto b = p.file(distinct_blocks(1, 16));
  fill_table(p);
  const auto cells = p.table->usage().cells;
  auto explainer = explainer_of(p);
  for (int i = 0; i < 3; ++i) {
    CHECK(explain(explainer, p, a).verdict == Verdict::kKeeper);
    CHECK(explain(explainer, p, b).verdict == Verdict::kFreed);
    CHECK(p.table->usage().cells == cells);
  }
}

TEST_CASE("copies that were looked at before count as settled") {
  Pipeline p;
  const auto a = p.file(distinct_blocks(1, 16));
  const std::uint64_t before = p.commit();
  const auto b = p.file(distinct_blocks(1, 16));
  fill_table(p);
  auto explainer = explainer_of(p, {before, before});
  CHECK(explain(explainer, p, b).verdict == Verdict::kFreed);
  // Each alone: the other one is there.
  CHECK(explain(explainer, p, a).verdict == Verdict::kKeeper);
}

TEST_CASE("a part that is stored elsewhere is told of whatever the verdict") {
  Pipeline p;
  const Bytes known = distinct_blocks(1, 4);
  const auto a = p.file(known);
  const auto b = p.file(joined(distinct_blocks(2, 60), known));
  fill_table(p);
  auto explainer = explainer_of(p);
  const Explanation found = explain(explainer, p, b);
  CHECK(found.verdict != Verdict::kFreed);
  REQUIRE(found.runs.size() == 1);
  CHECK(found.runs.front().first == 60);
  CHECK(found.runs.front().blocks == 4);
  CHECK(found.runs.front().source == p.address_of(a));
}

TEST_CASE("zeros are counted, and what would be copied is told") {
  Pipeline p;
  const auto a = p.file(joined(zero_blocks(12), distinct_blocks(1, 4)));
  fill_table(p);
  auto explainer = explainer_of(p);
  const Explanation found = explain(explainer, p, a);
  CHECK(found.verdict == Verdict::kFreed);
  CHECK(found.zero_bytes == 12 * kBlock);
  CHECK(found.copied_bytes == 4 * kBlock);
}

TEST_CASE("a compressed extent and a plain copy of it meet") {
  Pipeline p;
  const Bytes data = distinct_blocks(1, 16);
  const auto packed = p.fs.create(btrfs::kTopLevelRoot, data, 0, 3);
  const auto plain = p.file(data);
  fill_table(p);
  // As a content scan leaves it.
  const auto map = skep::testing::map_of(p.fs, packed);
  for (std::size_t i = 0; i < 16; ++i) {
    p.table->insert(p.fingerprinter.from_block(std::span(data).subspan(i * kBlock, kBlock), false),
                    map.extents.front().extent_address);
  }
  auto explainer = explainer_of(p);
  const Explanation found = explain(explainer, p, plain);
  CHECK(found.verdict == Verdict::kFreed);
  REQUIRE(found.runs.size() == 1);
  CHECK(found.runs.front().keeper.address == p.address_of(packed));
  CHECK(found.runs.front().keeper.kind.compression == 3);
  CHECK(explain(explainer, p, packed).verdict != Verdict::kFreed);
}

}  // namespace
}  // namespace skep::dedupe
