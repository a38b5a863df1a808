// SPDX-License-Identifier: MIT
#include "skep/index/locality_cache.h"

#include <algorithm>

#include "pipeline.h"

namespace skep::index {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix
using btrfs::FileKey;

constexpr std::uint64_t kWindow = LocalityCache::kWindowBlocks * kBlock;

struct CachedFixture {
  btrfs::MemoryFilesystem fs;
  Fingerprinter fingerprinter{fs.info()};

  FileKey file(const Bytes& data) {
    const FileKey key = fs.create(btrfs::kTopLevelRoot, data);
    REQUIRE(fs.sync().ok());
    return key;
  }
  std::uint64_t address_of(FileKey key) {
    const auto map = map_of(fs, key);
    REQUIRE(map.extents.size() == 1);
    return map.extents[0].extent_address;
  }
  // Straight from the csum tree.
  Fingerprint stored(std::uint64_t address) {
    Fingerprint out = kNoFingerprint;
    REQUIRE(fs.csums(address, address + kBlock, [&](std::uint64_t, auto sums) {
                out = fingerprinter.from_csum(sums.first(fingerprinter.csum_size()));
              }).ok());
    return out;
  }
  static std::vector<std::uint64_t> found(const LocalityCache& cache, Fingerprint fingerprint) {
    std::vector<std::uint64_t> out;
    cache.find(fingerprint, [&](std::uint64_t address) {
      out.push_back(address);
      return true;
    });
    std::sort(out.begin(), out.end());
    return out;
  }
};

TEST_CASE_METHOD(CachedFixture, "the fingerprint at an address is that of the csum tree") {
  const std::uint64_t a = address_of(file(distinct_blocks(1, 20)));
  LocalityCache cache(fs, fingerprinter);
  CHECK_FALSE(cache.loaded(a));
  for (std::uint64_t i = 0; i < 20; ++i) {
    CHECK(cache.at(a + i * kBlock) == stored(a + i * kBlock));
    CHECK(cache.at(a + i * kBlock) != kNoFingerprint);
  }
  CHECK(cache.loaded(a));
  CHECK(cache.windows_loaded() == 1);
  CHECK(cache.at(a + 100 * kBlock) == kNoFingerprint);
  CHECK(cache.at(50 * kWindow) == kNoFingerprint);
  CHECK(cache.errors() == 0);
}

TEST_CASE_METHOD(CachedFixture, "blocks are found by content once their window is loaded") {
  const Bytes data = distinct_blocks(1, 4);
  const std::uint64_t a = address_of(file(data)), b = address_of(file(data));
  LocalityCache cache(fs, fingerprinter);
  const Fingerprint second = stored(a + kBlock);
  CHECK(found(cache, second).empty());
  cache.at(a);
  CHECK(found(cache, second) == std::vector<std::uint64_t>{a + kBlock, b + kBlock});
  CHECK(found(cache, mix(12345)).empty());
}

TEST_CASE_METHOD(CachedFixture, "a search ends when it is told to") {
  const Bytes data = distinct_blocks(1, 1);
  const std::uint64_t a = address_of(file(data));
  file(data);
  file(data);
  LocalityCache cache(fs, fingerprinter);
  int visits = 0;
  cache.find(cache.at(a), [&](std::uint64_t) { return ++visits < 2; });
  CHECK(visits == 2);
}

TEST_CASE_METHOD(CachedFixture, "blocks of zeros are known by address, and not found by content") {
  const std::uint64_t a = address_of(file(zero_blocks(3)));
  LocalityCache cache(fs, fingerprinter);
  CHECK(cache.at(a) == fingerprinter.zero());
  CHECK(found(cache, fingerprinter.zero()).empty());
}

TEST_CASE_METHOD(CachedFixture, "the extent that holds an address is found, and gaps have none") {
  const std::uint64_t a = address_of(file(distinct_blocks(1, 4)));
  const std::uint64_t b = address_of(file(distinct_blocks(2, 6)));
  LocalityCache cache(fs, fingerprinter);
  for (std::uint64_t i = 0; i < 6; ++i) {
    const auto* extent = cache.extent_at(b + i * kBlock);
    REQUIRE(extent != nullptr);
    CHECK(extent->address == b);
    CHECK(extent->length == 6 * kBlock);
  }
  REQUIRE(cache.extent_at(a + 4 * kBlock - 1) != nullptr);
  CHECK(cache.extent_at(a + 4 * kBlock - 1)->address == a);
  CHECK(cache.extent_at(a - 1) == nullptr);
  CHECK(cache.extent_at(b + 6 * kBlock) == nullptr);
}

TEST_CASE_METHOD(CachedFixture, "an extent that reaches into a window from before is known in it") {
  const std::uint64_t blocks = GENERATE(2500U, 5000U);  // over one bound of windows, over two
  const std::uint64_t a = address_of(file(distinct_blocks(1, blocks)));
  const std::uint64_t b = address_of(file(distinct_blocks(2, 3)));
  const std::uint64_t last = a + (blocks - 1) * kBlock;
  REQUIRE(a / kWindow < last / kWindow);
  LocalityCache cache(fs, fingerprinter);
  const auto* extent = cache.extent_at(last / kWindow * kWindow);
  REQUIRE(extent != nullptr);
  CHECK(extent->address == a);
  CHECK(extent->length == blocks * kBlock);
  REQUIRE(cache.extent_at(last) != nullptr);
  CHECK(cache.extent_at(last)->address == a);
  CHECK(cache.windows_loaded() == 1);
  REQUIRE(cache.extent_at(b) != nullptr);
  CHECK(cache.extent_at(b)->address == b);
  CHECK(cache.at(last) == stored(last));
}

TEST_CASE("the longest extent is known in its last window") {
  btrfs::MemoryOptions options;
  options.max_extent_length = btrfs::kMaxExtentLength;
  btrfs::MemoryFilesystem fs(options);
  const Fingerprinter fingerprinter(fs.info());
  const FileKey key = fs.create(btrfs::kTopLevelRoot);
  REQUIRE(fs.fallocate(key, 0, btrfs::kMaxExtentLength).ok());
  REQUIRE(fs.sync().ok());
  const auto map = map_of(fs, key);
  REQUIRE(map.extents.size() == 1);
  LocalityCache cache(fs, fingerprinter);
  const std::uint64_t begin = map.extents[0].extent_address;
  const auto* found = cache.extent_at(begin + btrfs::kMaxExtentLength - kBlock);
  REQUIRE(found != nullptr);
  CHECK(found->address == begin);
}

TEST_CASE_METHOD(CachedFixture, "an extent that ends before a window is not in it") {
  const std::uint64_t a = address_of(file(distinct_blocks(1, 10)));
  LocalityCache cache(fs, fingerprinter);
  REQUIRE(a < kWindow);
  CHECK(cache.extent_at(kWindow) == nullptr);
}

TEST_CASE_METHOD(CachedFixture, "the window that was used least recently makes room") {
  const std::uint64_t a = address_of(file(distinct_blocks(1, 3 * LocalityCache::kWindowBlocks)));
  const std::uint64_t one = a, two = a + kWindow, three = a + 2 * kWindow;
  LocalityCache cache(fs, fingerprinter, 2);
  cache.at(one);
  cache.at(two);
  cache.at(one);
  cache.at(three);
  CHECK(cache.loaded(one));
  CHECK_FALSE(cache.loaded(two));
  CHECK(cache.loaded(three));
  CHECK(cache.windows_loaded() == 3);
  CHECK(found(cache, stored(two)).empty());
  CHECK(found(cache, stored(one)) == std::vector<std::uint64_t>{one});
  CHECK(found(cache, stored(three)) == std::vector<std::uint64_t>{three});
  CHECK(cache.at(two) == stored(two));
  CHECK(found(cache, stored(one)).empty());
}

TEST_CASE_METHOD(CachedFixture, "what is forgotten is found no more, and its neighbours are") {
  const Bytes data = distinct_blocks(1, 8);
  const std::uint64_t a = address_of(file(data)), b = address_of(file(data));
  LocalityCache cache(fs, fingerprinter);
  const Fingerprint first = cache.at(a), last = cache.at(a + 7 * kBlock);
  cache.forget(a, 4 * kBlock);
  CHECK(cache.at(a) == kNoFingerprint);
  CHECK(found(cache, first) == std::vector<std::uint64_t>{b});
  CHECK(found(cache, last) == std::vector<std::uint64_t>{a + 7 * kBlock, b + 7 * kBlock});
  cache.forget(a, 8 * kBlock);  // in part forgotten already
  CHECK(found(cache, last) == std::vector<std::uint64_t>{b + 7 * kBlock});
  cache.forget(100 * kWindow, 4 * kBlock);  // not loaded
  CHECK(found(cache, first) == std::vector<std::uint64_t>{b});
}

TEST_CASE_METHOD(CachedFixture, "forgetting goes over the bounds of windows") {
  const std::uint64_t a = address_of(file(distinct_blocks(1, 2 * LocalityCache::kWindowBlocks)));
  const std::uint64_t bound = (a / kWindow + 1) * kWindow;
  LocalityCache cache(fs, fingerprinter);
  const Fingerprint before = cache.at(bound - kBlock), after = cache.at(bound);
  cache.forget(a, 2 * kWindow);
  CHECK(found(cache, before).empty());
  CHECK(found(cache, after).empty());
}

TEST_CASE_METHOD(CachedFixture, "a window is read anew when extents may have come") {
  const std::uint64_t a = address_of(file(distinct_blocks(1, 4)));
  LocalityCache cache(fs, fingerprinter);
  cache.at(a);
  const std::uint64_t b = address_of(file(distinct_blocks(2, 4)));
  CHECK(cache.fresh_at(b) == kNoFingerprint);  // nobody told
  CHECK(cache.windows_loaded() == 1);
  cache.expect_changes();
  CHECK(cache.at(b) == kNoFingerprint);
  CHECK(cache.fresh_at(b) == stored(b));
  CHECK(cache.windows_loaded() == 2);
  CHECK(found(cache, stored(b)) == std::vector<std::uint64_t>{b});
  CHECK(found(cache, stored(a)) == std::vector<std::uint64_t>{a});
  REQUIRE(cache.extent_at(b) != nullptr);
  CHECK(cache.extent_at(b)->address == b);
  CHECK(cache.fresh_at(b + 100 * kBlock) == kNoFingerprint);  // just read
  CHECK(cache.windows_loaded() == 2);
}

TEST_CASE_METHOD(CachedFixture, "an error of the kernel counts, and leaves the window empty") {
  const std::uint64_t a = address_of(file(distinct_blocks(1, 4)));
  LocalityCache cache(fs, fingerprinter);
  btrfs::FaultPlan faults;
  faults.io_error = 1;
  fs.set_faults(faults);
  CHECK(cache.at(a) == kNoFingerprint);
  CHECK(cache.extent_at(a) == nullptr);
  CHECK(cache.errors() > 0);
  fs.set_faults({});
  cache.expect_changes();
  CHECK(cache.fresh_at(a) == stored(a));
}

}  // namespace
}  // namespace skep::index
