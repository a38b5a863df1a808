// SPDX-License-Identifier: MIT
#include "skep/dedupe/estimate.h"

#include <algorithm>
#include <atomic>
#include <memory>

#include "pipeline.h"
#include "skep/dedupe/gain_ledger.h"
#include "skep/dedupe/imagined_filesystem.h"
#include "skep/dedupe/top_folders.h"
#include "skep/service/tune.h"

namespace skep::dedupe {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix
using btrfs::FileKey;
using btrfs::kTopLevelRoot;

struct Look {
  btrfs::MemoryFilesystem fs;
  index::Fingerprinter fingerprinter{fs.info()};
  Options options;
  std::atomic<bool> stop = false;
  Counters counters;

  std::unique_ptr<index::Table> table() const {
    index::TableOptions of_table;
    of_table.size_bytes = 1 << 20;
    auto made = index::Table::in_memory(of_table);
    REQUIRE(made.ok());
    return *std::move(made);
  }
  absl::StatusOr<GainTotals> gains(const Sample& sample = Sample()) {
    REQUIRE(fs.sync().ok());
    const EstimateParts parts{fs, fingerprinter, options, stop};
    const auto made = table();
    index::Table* const tables[] = {made.get()};
    auto found = survey(parts, tables, counters);
    if (!found.ok()) return found.status();
    return imagine(parts, *found, *made, sample, true, counters);
  }
  FileKey file(const Bytes& data) { return fs.create(kTopLevelRoot, data); }
};

TEST_CASE_METHOD(Look, "what plain copies take more than one of them is estimated, whole") {
  for (int i = 0; i < 3; ++i) file(distinct_blocks(1, 50));
  file(distinct_blocks(2, 30));
  const auto found = gains();
  REQUIRE(found.ok());
  CHECK(found->freed_bytes == 100 * kBlock);
  CHECK(found->whole_bytes == 100 * kBlock);
  CHECK(found->part_bytes == 0);
  CHECK(found->copied_bytes == 0);
  CHECK(found->margin_bytes == 0);
  CHECK(found->extents == 2);
}

TEST_CASE_METHOD(Look, "what has to be copied is taken off") {
  const Bytes one = distinct_blocks(1, 100);
  file(one);
  file(joined(part(one, 10, 60), distinct_blocks(2, 7)));
  const auto found = gains();
  REQUIRE(found.ok());
  CHECK(found->freed_bytes == 60 * kBlock);
  CHECK(found->part_bytes == 60 * kBlock);
  CHECK(found->copied_bytes == 7 * kBlock);
}

TEST_CASE_METHOD(Look, "zeros and unused blocks are told apart") {
  file(zero_blocks(5));
  const FileKey rewritten = file(distinct_blocks(1, 20));
  REQUIRE(fs.write(rewritten, 0, distinct_blocks(2, 8)).ok());
  file(distinct_blocks(1, 20));
  const auto found = gains();
  REQUIRE(found.ok());
  CHECK(found->zero_bytes == 5 * kBlock);
  CHECK(found->unused_bytes == 8 * kBlock);
  CHECK(found->freed_bytes == 25 * kBlock);
}

TEST_CASE_METHOD(Look, "what victims of one batch copy is stored once for each of them") {
  // As in a run: both copies come to lie in one extent, which cannot go for its own sake.
  const Bytes keeper = distinct_blocks(1, 64), rest = distinct_blocks(2, 8);
  file(keeper);
  file(joined(part(keeper, 0, 32), rest));
  file(joined(part(keeper, 32, 31), rest));
  const auto found = gains();
  REQUIRE(found.ok());
  CHECK(found->freed_bytes == (32 + 31) * kBlock);
}

TEST_CASE_METHOD(Look, "an estimate writes nothing, opens nothing and commits nothing") {
  file(distinct_blocks(1, 50));
  file(distinct_blocks(1, 50));
  REQUIRE(fs.sync().ok());
  const auto syncs = fs.calls("sync");
  const auto generation = fs.generation();
  REQUIRE(gains().ok());
  CHECK(fs.calls("sync") == syncs + 1);  // of gains() itself, before
  CHECK(fs.calls("open") == 0);
  CHECK(fs.calls("create_temporary") == 0);
  CHECK(fs.calls("dedupe") == 0);
  CHECK(fs.data_used() == 100 * kBlock);
}

TEST_CASE_METHOD(Look, "a stop ends an estimate") {
  file(distinct_blocks(1, 50));
  stop = true;
  CHECK(absl::IsCancelled(gains().status()));
}

TEST_CASE_METHOD(Look, "gains are those of the subvolume and its top folder, snapshots' in parts") {
  const std::uint64_t home = fs.add_subvolume();
  REQUIRE(fs.move_subvolume(home, kTopLevelRoot, {btrfs::kFirstFreeObjectid, "home"}).ok());
  const std::uint64_t alice = fs.create_folder(home, {btrfs::kFirstFreeObjectid, "alice"});
  const std::uint64_t deep = fs.create_folder(home, {alice, "deep"});
  file(distinct_blocks(1, 40));
  const FileKey copy = fs.create(home, part(distinct_blocks(1, 40), 0, 20));
  REQUIRE(fs.rename(copy, {deep, "copy"}).ok());
  const auto found = gains();
  REQUIRE(found.ok());
  REQUIRE(found->subvolumes.size() == 1);
  CHECK(found->subvolumes[0].path == "/home");
  CHECK(found->subvolumes[0].bytes == 20 * kBlock);
  REQUIRE(found->folders.size() == 1);
  CHECK(found->folders[0].path == "/home/alice");
}

TEST_CASE_METHOD(Look, "an imagined filesystem hides what went once that is committed") {
  file(distinct_blocks(1, 4));
  file(distinct_blocks(2, 4));
  REQUIRE(fs.sync().ok());
  const auto before = all_extents(fs);
  REQUIRE(before.size() == 2);
  ImaginedFilesystem imagined(fs, fingerprinter, *fs.generation());
  imagined.remove(before[0]);
  CHECK(all_extents(imagined).size() == 2);
  REQUIRE(imagined.sync().ok());
  CHECK(all_extents(imagined).size() == 1);
  CHECK(all_extents(fs).size() == 2);
  const auto csums = all_csums(imagined);
  CHECK(csums.size() == 4);
  CHECK(csums.begin()->first == before[1].address);
}

TEST_CASE_METHOD(Look, "copies in an imagined filesystem have a file and their checksums") {
  file(distinct_blocks(1, 4));
  REQUIRE(fs.sync().ok());
  const std::uint64_t generation = *fs.generation();
  ImaginedFilesystem imagined(fs, fingerprinter, generation);
  const std::vector<index::Fingerprint> blocks = {
      fingerprinter.from_block(distinct_blocks(7, 1), false),
      fingerprinter.from_block(distinct_blocks(8, 1), false)};
  const std::uint64_t address = imagined.add_copies(blocks);
  CHECK(imagined.extents_since(0, generation + 1, 4096)->extents.empty());
  REQUIRE(imagined.sync().ok());
  const auto page = imagined.extents_since(0, generation + 1, 4096);
  REQUIRE(page.ok());
  REQUIRE(page->extents.size() == 1);
  const btrfs::Extent& extent = page->extents.front();
  CHECK(extent.address == address);
  CHECK(extent.length == 2 * kBlock);
  std::vector<index::Fingerprint> found;
  REQUIRE(imagined
              .csums(address, extent.end(),
                     [&](std::uint64_t, std::span<const std::byte> sums) {
                       for (; sums.size() >= 4; sums = sums.subspan(4)) {
                         found.push_back(fingerprinter.from_csum(sums.first(4)));
                       }
                     })
              .ok());
  CHECK(found == blocks);
  const auto& ref = extent.data_refs.front();
  const auto map = imagined.file_map({ref.root, ref.inode}, 0, kEverything);
  REQUIRE(map.ok());
  CHECK(map->extents.front().extent_address == address);
}

TEST_CASE_METHOD(Look, "nothing can be opened or shared in an imagined filesystem") {
  const FileKey key = file(distinct_blocks(1, 4));
  ImaginedFilesystem imagined(fs, fingerprinter, *fs.generation());
  CHECK_FALSE(imagined.open(btrfs::FileHandle(key)).ok());
  CHECK_FALSE(imagined.create_temporary({}).ok());
}

TEST_CASE("a sample takes all large extents, and one stretch of each group") {
  const Sample sample(5);
  CHECK(sample.takes(0, Sample::kLargeBytes));
  for (std::uint64_t group = 0; group < 100; ++group) {
    int chosen = 0;
    for (std::uint64_t i = 0; i < 5; ++i) {
      const std::uint64_t stretch = group * 5 + i;
      chosen += sample.chooses(stretch) ? 1 : 0;
      CHECK(sample.chosen_for(stretch) / 5 == group);
      CHECK(sample.takes(stretch * Sample::kStretchBytes, 4096) == sample.chooses(stretch));
    }
    CHECK(chosen == 1);
  }
  CHECK(Sample(1).takes(12345678, 4096));
}

// Stretches of which each holds `bytes` of extents of 4 KiB.
Stretches even_stretches(std::uint64_t count, std::uint64_t bytes) {
  Stretches out;
  for (std::uint64_t i = 0; i < count; ++i) {
    out[i].bytes[tier_of(kBlock)] = bytes;
    out[i].extents[tier_of(kBlock)] = static_cast<std::uint32_t>(bytes / kBlock);
  }
  return out;
}

ReplacementPlan plan_in(std::uint64_t stretch, std::uint64_t number) {
  ReplacementPlan plan;
  plan.victim.address = stretch * Sample::kStretchBytes + number * kBlock;
  plan.victim.length = kBlock;
  plan.duplicate_bytes = kBlock;
  return plan;
}

TEST_CASE("where the stretches are alike a sample tells the whole without error") {
  const Sample sample(10);
  const Stretches all = even_stretches(1000, 100 * kBlock);
  GainLedger ledger(nullptr);
  for (std::uint64_t s = 0; s < 1000; ++s) {
    for (std::uint64_t n = 0; sample.chooses(s) && n < 20; ++n) ledger.add(plan_in(s, n));
  }
  const GainTotals totals = ledger.totals(all, sample);
  CHECK(totals.freed_bytes == 1000 * 20 * kBlock);
  CHECK(totals.whole_bytes == totals.freed_bytes);
  CHECK(totals.margin_bytes < kBlock);
}

TEST_CASE("the error that a sample tells holds the truth as often as it says") {
  // Stretches that differ by chance; each seed is another sample of them.
  constexpr std::uint64_t kStretches = 2000;
  const Stretches all = even_stretches(kStretches, 100 * kBlock);
  std::vector<std::uint64_t> gained(kStretches);
  std::uint64_t truth = 0;
  for (std::uint64_t s = 0; s < kStretches; ++s) {
    const std::uint64_t chance = index::mix(s + 99);
    gained[s] = chance % 4 == 0 ? chance / 4 % 90 : chance / 4 % 10;
    truth += gained[s] * kBlock;
  }
  int held = 0;
  constexpr int kSamples = 200;
  for (int seed = 1; seed <= kSamples; ++seed) {
    const Sample sample(10, static_cast<std::uint64_t>(seed));
    GainLedger ledger(nullptr);
    for (std::uint64_t s = 0; s < kStretches; ++s) {
      if (!sample.chooses(s)) continue;
      for (std::uint64_t n = 0; n < gained[s]; ++n) ledger.add(plan_in(s, n));
    }
    const GainTotals totals = ledger.totals(all, sample);
    const std::uint64_t differs =
        std::max(totals.freed_bytes, truth) - std::min(totals.freed_bytes, truth);
    held += differs <= totals.margin_bytes ? 1 : 0;
  }
  CHECK(held >= kSamples * 90 / 100);
  CHECK(held < kSamples);
}

TEST_CASE("a checksum can be had back from its fingerprint") {
  const btrfs::MemoryFilesystem fs;
  const index::Fingerprinter fingerprinter(fs.info());
  for (std::uint32_t value : {0U, 1U, 0xdeadbeefU, 0xffffffffU}) {
    std::byte csum[4], back[4];
    std::memcpy(csum, &value, 4);
    fingerprinter.to_csum(fingerprinter.from_csum(csum), back);
    CHECK(std::memcmp(csum, back, 4) == 0);
  }
}

TEST_CASE("a table in memory works as one in a file, and is bounded as one") {
  index::TableOptions options;
  options.size_bytes = 64 << 10;
  auto table = index::Table::in_memory(options);
  REQUIRE(table.ok());
  CHECK_FALSE((*table)->reopened());
  (*table)->insert(index::mix(1), 5 * kBlock);
  CHECK((*table)->find(index::mix(1)).size() == 1);
  for (std::uint64_t i = 2; i < 20'000; ++i) (*table)->insert(index::mix(i), i * kBlock);
  CHECK((*table)->usage().level > 0);
  CHECK((*table)->save().ok());
  options.size_bytes = 4096;
  CHECK_FALSE(index::Table::in_memory(options).ok());
}

TEST_CASE("tables to try grow by four up to one that holds every block, or 256 MiB") {
  constexpr std::uint64_t kMib = 1 << 20;
  const auto small = service::table_sizes(kMib, 4096);
  CHECK(small == std::vector<std::uint64_t>{64 << 10});
  const auto some = service::table_sizes(1390 * kMib, 4096);
  CHECK(some == std::vector<std::uint64_t>{64 << 10, 256 << 10, kMib, 4 * kMib});
  CHECK(service::table_sizes(1ULL << 42, 4096).back() == 256 * kMib);
}

TEST_CASE("the smallest table that misses at most 2 % is recommended") {
  const auto tried = [](std::vector<std::uint64_t> freed) {
    std::vector<service::TriedTable> out;
    for (const std::uint64_t bytes : freed) out.push_back({0, {}, bytes, 0});
    return service::recommend(out);
  };
  CHECK(tried({100}) == 0);
  CHECK(tried({970, 979, 980, 1000}) == 2);
  CHECK(tried({985, 1000, 990}) == 0);
  CHECK(tried({0, 0, 0}) == 0);
}

}  // namespace
}  // namespace skep::dedupe
