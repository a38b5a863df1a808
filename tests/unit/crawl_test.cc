// SPDX-License-Identifier: MIT
#include "skep/dedupe/crawl.h"

#include <algorithm>

#include "pipeline.h"
#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix

struct Met {
  std::uint32_t tier = 0;
  std::uint64_t address = 0;
  auto operator<=>(const Met&) const = default;  // NOLINT(modernize-use-nullptr)
};

struct CrawlFixture {
  btrfs::MemoryFilesystem fs;

  std::uint64_t commit() {
    auto generation = fs.sync();
    REQUIRE(generation.ok());
    return *generation;
  }
  // Extents of several tiers, mixed.
  void populate(std::size_t rounds) {
    for (std::size_t i = 0; i < rounds; ++i) {
      for (const std::size_t count : {1U, 40U, 2U, 9U, 1U, 130U}) {
        fs.create(btrfs::kTopLevelRoot, Bytes(count * kBlock, std::byte{1}));
      }
    }
  }
  Census census_of(Window window) {
    Census census;
    for (const auto& extent : all_extents(fs)) {
      if (!window.contains(extent.generation)) continue;
      ++census.extents[tier_of(extent.length)];
      census.bytes[tier_of(extent.length)] += extent.length;
    }
    return census;
  }
  // What a crawl shall meet, in order.
  std::vector<Met> expected(Window window) {
    std::vector<Met> out;
    for (const auto& extent : all_extents(fs)) {
      if (window.contains(extent.generation))
        out.push_back({tier_of(extent.length), extent.address});
    }
    std::sort(out.begin(), out.end());
    return out;
  }
  static std::vector<Batch> drain(BatchSource& source) {
    std::vector<Batch> out;
    for (;;) {
      auto batch = source.next();
      REQUIRE(batch.ok());
      if (*batch == nullptr) return out;
      REQUIRE_FALSE((*batch)->extents.empty());
      out.push_back(std::move(**batch));
    }
  }
  static std::vector<Met> met(const std::vector<Batch>& batches, std::size_t from = 0) {
    std::vector<Met> out;
    for (std::size_t i = from; i < batches.size(); ++i) {
      for (const auto& extent : batches[i].extents) {
        out.push_back({tier_of(extent.length), extent.address});
      }
    }
    return out;
  }
};

TEST_CASE("tiers go from the longest extents to the shortest") {
  CHECK(tier_of(128ULL << 20) == 0);
  CHECK(tier_of(64ULL << 20) == 0);
  CHECK(tier_of((64ULL << 20) - kBlock) == 1);
  CHECK(tier_of(8192) == 10);
  CHECK(tier_of(4096) == 11);
  for (std::uint64_t length = kBlock; length < btrfs::kMaxExtentLength; length *= 2) {
    CHECK(tier_of(length) >= tier_of(2 * length));
  }
}

TEST_CASE("a cursor tells what the crawl has gone by") {
  const Cursor cursor{10, 5000};
  CHECK(cursor.has_passed(9000, 1 << 20));
  CHECK(cursor.has_passed(4096, 8192));
  CHECK_FALSE(cursor.has_passed(5000, 8192));
  CHECK_FALSE(cursor.has_passed(4096, 4096));
  CHECK_FALSE(cursor.done());
  CHECK(Cursor{kTierMinBytes.size(), 0}.done());
}

TEST_CASE("a census sums what is ahead") {
  Census census;
  census.bytes[0] = 100;
  census.bytes[3] = 20;
  census.bytes[11] = 3;
  CHECK(census.bytes_from(0) == 123);
  CHECK(census.bytes_from(1) == 23);
  CHECK(census.bytes_from(11) == 3);
  CHECK(census.bytes_from(12) == 0);
  CHECK(census.bytes_from(1000) == 0);
}

TEST_CASE_METHOD(CrawlFixture,
                 "large extents come first, then by address, in batches of one tier") {
  populate(200);
  const Window window{0, commit()};
  Census census = census_of(window);
  // Tiers with many extents are walked one by one, those with few gathered.
  if (GENERATE(false, true)) census.extents.fill(limits::kGatherExtents + 1);
  Crawl crawl(fs, window, {}, census);
  const auto batches = drain(crawl);
  CHECK(met(batches) == expected(window));
  std::uint64_t number = 0;
  for (const Batch& batch : batches) {
    CHECK(batch.number == number++);
    CHECK(batch.extents.size() <= limits::kBatchExtents);
    CHECK(batch.next_address == batch.extents.back().end());
    std::uint64_t bytes = 0;
    for (const auto& extent : batch.extents) {
      CHECK(tier_of(extent.length) == batch.tier);
      bytes += extent.length;
    }
    CHECK(batch.bytes == bytes);
    CHECK(bytes - batch.extents.back().length < limits::kBatchBytes);
  }
  CHECK(std::any_of(batches.begin(), batches.end(), [](const Batch& batch) {
    return batch.extents.size() == limits::kBatchExtents;
  }));
}

TEST_CASE_METHOD(CrawlFixture, "only extents of the window's generations are met") {
  populate(2);
  const std::uint64_t first = commit();
  populate(3);
  const std::uint64_t second = commit();
  populate(1);
  commit();
  const Window window{first, second};
  Crawl crawl(fs, window, {}, census_of(window));
  const auto all = met(drain(crawl));
  CHECK(all.size() == 3 * 6);
  CHECK(all == expected(window));
}

TEST_CASE_METHOD(CrawlFixture, "an empty window has no batches") {
  populate(1);
  const std::uint64_t now = commit();
  const Window window{now, now + 5};
  Crawl crawl(fs, window, {}, census_of(window));
  CHECK(drain(crawl).empty());
}

TEST_CASE_METHOD(CrawlFixture, "a crawl that goes on from a cursor meets exactly the rest") {
  populate(100);
  const Window window{0, commit()};
  Census census = census_of(window);
  if (GENERATE(false, true)) census.extents.fill(limits::kGatherExtents + 1);
  Crawl crawl(fs, window, {}, census);
  const auto batches = drain(crawl);
  REQUIRE(batches.size() >= 5);
  for (std::size_t i = 0; i < batches.size(); ++i) {
    INFO("after batch " << i);
    Crawl rest(fs, window, {batches[i].tier, batches[i].next_address}, census);
    CHECK(met(drain(rest)) == met(batches, i + 1));
  }
}

TEST_CASE_METHOD(CrawlFixture, "an error of the extent tree ends the crawl") {
  populate(1);
  const Window window{0, commit()};
  Crawl crawl(fs, window, {}, census_of(window));
  btrfs::FaultPlan faults;
  faults.io_error = 1;
  fs.set_faults(faults);
  CHECK_FALSE(crawl.next().ok());
}

TEST_CASE_METHOD(CrawlFixture, "a revisit meets the named extents that are still there") {
  std::vector<btrfs::FileKey> files;
  for (int i = 0; i < 600; ++i) {
    files.push_back(fs.create(btrfs::kTopLevelRoot, Bytes(kBlock, std::byte{1})));
  }
  commit();
  std::vector<Roles::Deferred> deferred;
  std::vector<std::uint64_t> there;
  for (std::size_t i = 0; i < files.size(); ++i) {
    const std::uint64_t address = map_of(fs, files[i]).extents.at(0).extent_address;
    if (i % 2 == 0) deferred.push_back({address, kBlock});
    if (i % 4 == 0) REQUIRE(fs.remove(files[i]).ok());
    if (i % 4 == 2) there.push_back(address);
  }
  commit();
  std::sort(there.begin(), there.end());
  std::sort(deferred.begin(), deferred.end(),
            [](const auto& a, const auto& b) { return a.address < b.address; });
  Revisit revisit(fs, deferred);
  const auto batches = drain(revisit);
  std::vector<std::uint64_t> found;
  for (const Batch& batch : batches) {
    CHECK(batch.tier == kTierMinBytes.size());
    CHECK(batch.extents.size() <= limits::kBatchExtents);
    for (const auto& extent : batch.extents) found.push_back(extent.address);
  }
  CHECK(found == there);
}

}  // namespace
}  // namespace skep::dedupe
