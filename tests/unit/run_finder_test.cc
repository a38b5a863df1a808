// SPDX-License-Identifier: MIT
#include "skep/dedupe/run_finder.h"

#include "../../src/dedupe/csum_reader.h"
#include "pipeline.h"

namespace skep::dedupe {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix

struct Finder : Pipeline {
  FingerprintStage loader{{fs, fingerprinter, contents, read_resolver, counters, options}};
  RunFinder finder{{fs, fingerprinter, *table, contents, loader, roles, strangers, counters}};

  FingerprintedExtent fingerprinted(std::uint64_t address) {
    auto page = fs.extents(address, address, 4096);
    REQUIRE(page.ok());
    REQUIRE(page->extents.size() == 1);
    std::vector<FingerprintedExtent> out;
    REQUIRE(read_csums(fs, fingerprinter, std::move(page->extents), out).ok());
    return out.front();
  }
  std::vector<Run> find(const FingerprintedExtent& victim) {
    std::vector<Run> out;
    finder.find(
        victim, 0, static_cast<std::uint32_t>(victim.blocks.size()),
        [](const Keeper&, std::uint64_t) { return true; }, out);
    return out;
  }
};

TEST_CASE_METHOD(Finder, "what the table has again is found although the cache was to forget it") {
  const auto a = file(distinct_blocks(1, 4)), b = file(distinct_blocks(1, 4));
  commit();
  const FingerprintedExtent planned = fingerprinted(address_of(a));
  const FingerprintedExtent victim = fingerprinted(address_of(b));
  CHECK(finder.cache().extent_at(planned.extent.address) != nullptr);
  finder.cache().forget(planned.extent.address, planned.extent.length);
  finder.begin(victim);
  // From here on it is the plan stage's turn, while the match stage is at the victim.
  finder.expect_changes();
  for (std::size_t i = 0; i < planned.blocks.size(); ++i) {
    table->insert(planned.blocks[i], planned.cell_address(i, kBlock));
  }
  const auto runs = find(victim);
  REQUIRE(runs.size() == 1);
  CHECK(runs[0].keeper.address == planned.extent.address);
  CHECK(runs[0].blocks == 4);
  CHECK(counters.table_stale == 0);
  CHECK(table->find(victim.blocks[0]).size() == 1);
}

TEST_CASE_METHOD(Finder, "what the table has of an extent that is gone is taken out of it") {
  const auto a = file(distinct_blocks(1, 4));
  commit();
  const FingerprintedExtent victim = fingerprinted(address_of(a));
  table->insert(victim.blocks[0], victim.extent.address + (1ULL << 30));
  finder.begin(victim);
  finder.expect_changes();
  CHECK(find(victim).empty());
  CHECK(counters.table_stale == 1);
  CHECK(table->find(victim.blocks[0]).empty());
}

}  // namespace
}  // namespace skep::dedupe
