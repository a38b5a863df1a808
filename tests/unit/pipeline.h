// SPDX-License-Identifier: MIT
//
// The stages of a pass on a MemoryFilesystem, joined by hand, one batch at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "skep/dedupe/apply_stage.h"
#include "skep/dedupe/crawl.h"
#include "skep/dedupe/fingerprint_stage.h"
#include "skep/dedupe/keeper_catalog.h"
#include "skep/dedupe/match_stage.h"
#include "skep/dedupe/metadata_price.h"
#include "skep/dedupe/plan_stage.h"
#include "skep/dedupe/resolver.h"
#include "skep/dedupe/roles.h"
#include "skep/dedupe/scan.h"
#include "skep/dedupe/settle_stage.h"
#include "skep/index/content_cache.h"
#include "temporary_folder.h"
#include "testing.h"

namespace skep::testing {

// Blocks of which no two are equal, also across seeds.
inline Bytes distinct_blocks(std::uint64_t seed, std::size_t count) {
  Bytes out(count * kBlock, std::byte{1});
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t mark[2] = {seed, i};
    std::memcpy(out.data() + i * kBlock, mark, sizeof(mark));
  }
  return out;
}

inline Bytes zero_blocks(std::size_t count) { return Bytes(count * kBlock); }

inline Bytes part(const Bytes& bytes, std::size_t first_block, std::size_t blocks) {
  const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(first_block * kBlock);
  return {begin, begin + static_cast<std::ptrdiff_t>(blocks * kBlock)};
}

struct Pipeline {
  btrfs::MemoryFilesystem fs;
  index::Fingerprinter fingerprinter{fs.info()};
  TemporaryFolder folder;
  std::unique_ptr<index::Table> table;
  dedupe::Counters counters;
  dedupe::PhaseGate gate;
  dedupe::Roles roles;
  index::ContentCache contents{fingerprinter, kBlock};
  dedupe::ContentMarks marks;
  dedupe::Unjudged unjudged;
  dedupe::Resolver resolver{fs, gate, counters}, read_resolver{fs, gate, counters};
  dedupe::KeeperCatalog catalog{fs, resolver};
  dedupe::MetadataPrice price{16384, 1};
  dedupe::Strangers strangers{fingerprinter, kBlock, counters};
  dedupe::Options options;
  dedupe::PassKind pass = dedupe::PassKind::kQuick;
  std::atomic<bool> stop = false;
  int kept = 0;
  std::function<void()> on_kept = [] {};  // by the plan stage

  Pipeline() {
    index::TableOptions table_options;
    table_options.size_bytes = 1 << 20;
    auto opened = index::Table::open(folder.file("table"), table_options);
    REQUIRE(opened.ok());
    table = *std::move(opened);
  }
  ~Pipeline() {
    fs.set_on_call(nullptr);
    const auto status = fs.check();
    INFO(status);
    CHECK(status.ok());
  }
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  btrfs::FileKey file(const Bytes& data) { return fs.create(btrfs::kTopLevelRoot, data); }
  std::uint64_t commit() {
    auto generation = fs.sync();
    REQUIRE(generation.ok());
    return *generation;
  }
  std::uint64_t address_of(btrfs::FileKey key) {
    const auto map = map_of(fs, key);
    REQUIRE_FALSE(map.extents.empty());
    return map.extents.front().extent_address;
  }

  // Commits, fills the table with everything, and takes the extents after `after` as far as plans.
  std::vector<dedupe::Batch> plan(std::uint64_t after = 0) {
    const dedupe::Window window{after, commit()};
    auto census = dedupe::scan(fs, fingerprinter, {0, window.to}, *table, [] { return false; });
    REQUIRE(census.ok());
    dedupe::Crawl crawl(fs, window, {}, *census);
    dedupe::FingerprintStage fingerprint(
        {fs, fingerprinter, contents, read_resolver, counters, options});
    dedupe::MatchStage match({fs, fingerprinter, *table, contents, fingerprint, read_resolver,
                              roles, strangers, counters, options},
                             pass, window);
    dedupe::PlanStage planner({fs, fingerprinter, *table, contents, resolver, catalog, price, roles,
                               strangers, counters, options, [&] {
                                 on_kept();
                                 match.expect_changes();
                               }});
    std::vector<dedupe::Batch> out;
    for (;;) {
      auto batch = crawl.next();
      REQUIRE(batch.ok());
      if (*batch == nullptr) return out;
      REQUIRE(fingerprint.run(**batch, pass, marks, 0, unjudged).ok());
      match.run(**batch);
      REQUIRE(planner.run(**batch).ok());
      out.push_back(std::move(**batch));
    }
  }
  absl::Status apply(dedupe::Batch& batch) {
    return dedupe::ApplyStage(fs, gate, strangers, counters, stop).run(batch);
  }
  dedupe::SettleStage settle_stage() {
    return {{fs, *table, catalog, price, roles, counters, [this] { ++kept; }}, {}};
  }
  std::uint64_t left_as(dedupe::Verdict verdict) const {
    return counters.verdicts[static_cast<std::size_t>(verdict)].extents;
  }
};

// What of all batches is planned to go, in their order.
inline std::vector<dedupe::ReplacementPlan> plans_of(const std::vector<dedupe::Batch>& batches) {
  std::vector<dedupe::ReplacementPlan> out;
  for (const auto& batch : batches) out.insert(out.end(), batch.plans.begin(), batch.plans.end());
  return out;
}

// Why the extent at `address` is left; kFreed when it is not.
inline dedupe::Verdict verdict_on(const std::vector<dedupe::Batch>& batches,
                                  std::uint64_t address) {
  for (const auto& batch : batches) {
    for (const auto& left : batch.left) {
      if (left.extent.address == address) return left.verdict;
    }
  }
  return dedupe::Verdict::kFreed;
}

}  // namespace skep::testing
