// SPDX-License-Identifier: MIT
#include "skep/index/content_cache.h"

#include <algorithm>
#include <map>
#include <random>

#include "testing.h"

namespace skep::index {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix

btrfs::FsInfo info() { return {}; }

struct Cached {
  Fingerprinter fingerprinter{info()};
  ContentCache cache{fingerprinter, kBlock, 256};

  // A compressed extent of `blocks` blocks with fingerprints from `first` on.
  void add(std::uint64_t address, Fingerprint first, std::size_t blocks) {
    std::vector<Fingerprint> prints;
    for (std::size_t i = 0; i < blocks; ++i) prints.push_back(first + i);
    cache.insert({address, kBlock, blocks * kBlock, 7, 1, {3, false}}, 0, prints);
  }
};

TEST_CASE_METHOD(Cached, "an empty content cache finds nothing") {
  CHECK(cache.find(1000).empty());
  CHECK(cache.at(kBlock, 0) == kNoFingerprint);
  CHECK_FALSE(cache.contains(kBlock, 0));
  CHECK(cache.extent(kBlock, 0).address == 0);
  cache.forget(kBlock, kBlock);
}

TEST_CASE_METHOD(Cached, "what was read is found by content and by place") {
  add(10 * kBlock, 1000, 20);
  add(11 * kBlock, 2000, 32);
  const auto places = cache.find(1007);
  REQUIRE(places.size() == 1);
  CHECK(places[0].extent.address == 10 * kBlock);
  CHECK(places[0].extent.kind == btrfs::ExtentKind{3, false});
  CHECK(places[0].extent.content_length == 20 * kBlock);
  CHECK(places[0].block == 7);
  CHECK(cache.at(11 * kBlock, 31) == 2031);
  CHECK(cache.at(11 * kBlock, 32) == kNoFingerprint);
  CHECK(cache.contains(10 * kBlock, 0));
}

TEST_CASE_METHOD(Cached, "the same content in several extents is found newest first") {
  for (std::uint64_t i = 1; i <= 4; ++i) add(i * kBlock, 1000, 3);
  const auto places = cache.find(1001);
  REQUIRE(places.size() == 4);
  for (std::uint64_t i = 0; i < 4; ++i) CHECK(places[i].extent.address == (4 - i) * kBlock);
}

TEST_CASE_METHOD(Cached, "zeros and unread blocks are no content to be found") {
  const std::vector<Fingerprint> prints = {fingerprinter.zero(), kNoFingerprint, 5000};
  cache.insert({kBlock, kBlock, 3 * kBlock, 1, 1, {1, false}}, 0, prints);
  CHECK(cache.find(fingerprinter.zero()).empty());
  CHECK(cache.find(kNoFingerprint).empty());
  CHECK(cache.find(5000).size() == 1);
  CHECK(cache.at(kBlock, 0) == fingerprinter.zero());
}

TEST_CASE_METHOD(Cached, "a forgotten extent is found no more, others stay") {
  add(10 * kBlock, 1000, 20);
  add(11 * kBlock, 1000, 20);
  cache.forget(10 * kBlock, 20 * kBlock);
  REQUIRE(cache.find(1003).size() == 1);
  CHECK(cache.find(1003)[0].extent.address == 11 * kBlock);
  CHECK_FALSE(cache.contains(10 * kBlock, 0));
  add(10 * kBlock, 3000, 20);
  CHECK(cache.find(3003).size() == 1);
}

TEST_CASE_METHOD(Cached, "what is read again replaces what was known") {
  add(10 * kBlock, 1000, 20);
  add(10 * kBlock, 2000, 4);
  CHECK(cache.find(1000).empty());
  CHECK(cache.find(2003).size() == 1);
  CHECK(cache.at(10 * kBlock, 5) == kNoFingerprint);
}

TEST_CASE_METHOD(Cached, "a long extent comes and goes in pieces of its own") {
  std::vector<Fingerprint> prints(100);
  for (std::size_t i = 0; i < prints.size(); ++i) prints[i] = 4000 + i;
  const ReadExtent extent{64 * kBlock, 200 * kBlock, 200 * kBlock, 1, 1, {}};
  cache.insert(extent, 32, prints);
  CHECK_FALSE(cache.contains(extent.address, 0));
  CHECK(cache.contains(extent.address, 32));
  CHECK(cache.contains(extent.address, 131));
  CHECK(cache.at(extent.address, 131) == 4099);
  REQUIRE(cache.find(4050).size() == 1);
  CHECK(cache.find(4050)[0].block == 82);
}

TEST_CASE("over its capacity a content cache loses the oldest, and agrees with a model") {
  const Fingerprinter fingerprinter{info()};
  constexpr std::uint32_t kCapacity = 512;
  ContentCache cache(fingerprinter, kBlock, kCapacity);
  std::mt19937_64 random(42);
  std::map<std::uint64_t, std::vector<Fingerprint>> model;  // by address
  std::vector<std::uint64_t> order;
  for (int step = 0; step < 3000; ++step) {
    const std::uint64_t address = (1 + random() % 60) * kBlock;
    if (random() % 5 == 0) {
      cache.forget(address, 32 * kBlock);
      model.erase(address);
      continue;
    }
    std::vector<Fingerprint> prints(1 + random() % 32);
    for (auto& print : prints) print = 1 + random() % 300;
    cache.insert({address, kBlock, prints.size() * kBlock, 1, 1, {3, false}}, 0, prints);
    model[address] = prints;
    std::erase(order, address);
    order.push_back(address);
    // Whatever it still has is what was put in last.
    for (const auto& [at, blocks] : model) {
      for (std::size_t i = 0; i < blocks.size(); ++i) {
        const Fingerprint known = cache.at(at, i);
        REQUIRE((known == kNoFingerprint || known == blocks[i]));
      }
    }
    // The newest is always there.
    for (std::size_t i = 0; i < prints.size(); ++i) REQUIRE(cache.at(address, i) == prints[i]);
    const auto places = cache.find(prints[0]);
    REQUIRE_FALSE(places.empty());
    for (const auto& place : places) {
      REQUIRE(model.contains(place.extent.address));
      REQUIRE(model[place.extent.address].at(place.block) == prints[0]);
    }
  }
}

}  // namespace
}  // namespace skep::index
