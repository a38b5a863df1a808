// SPDX-License-Identifier: MIT
#include "skep/dedupe/block_places.h"

#include "catch.h"
#include "skep/index/fingerprint.h"

namespace skep::dedupe {
namespace {

TEST_CASE("block places: the first place of a hash is found") {
  BlockPlaces places(100);
  places.add({7, 1, 2});
  places.add({7, 3, 4});
  const auto* place = places.find(7);
  REQUIRE(place != nullptr);
  CHECK(place->file == 1);
  CHECK(place->block == 2);
  CHECK(places.find(8) == nullptr);
}

TEST_CASE("block places: hash 0 is that of no block") {
  BlockPlaces places(100);
  places.add({0, 1, 2});
  CHECK(places.find(0) == nullptr);
}

TEST_CASE("block places: few blocks are all taken, also when their hashes collide") {
  BlockPlaces places(1000);
  for (std::uint64_t i = 1; i <= 500; ++i) places.add({i, 0, static_cast<std::uint32_t>(i)});
  for (std::uint64_t i = 1; i <= 500; ++i) {
    REQUIRE(places.find(i) != nullptr);
    CHECK(places.find(i)->block == i);
  }
}

TEST_CASE("block places: of many blocks a sample, equal ones alike") {
  BlockPlaces places(8 * BlockPlaces::kMaxPlaces);
  std::uint64_t taken = 0;
  for (std::uint64_t i = 1; i <= 16000; ++i) {
    const std::uint64_t hash = index::mix(i);
    places.add({hash, 0, 0});
    taken += places.find(hash) != nullptr;
    CHECK(places.sampled(hash) == (places.find(hash) != nullptr));
  }
  // One in 16.
  CHECK(taken > 800);
  CHECK(taken < 1200);
}

TEST_CASE("block places: more than was said ends no search, and is left out") {
  BlockPlaces places(1);
  for (std::uint64_t i = 1; i <= 100'000; ++i) places.add({index::mix(i), 0, 0});
  std::uint64_t found = 0;
  for (std::uint64_t i = 1; i <= 100'000; ++i) found += places.find(index::mix(i)) != nullptr;
  CHECK(found > 500);
  CHECK(found < 1024);
}

}  // namespace
}  // namespace skep::dedupe
