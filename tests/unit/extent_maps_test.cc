// SPDX-License-Identifier: MIT
#include "skep/dedupe/extent_maps.h"

#include "catch.h"

namespace skep::dedupe {
namespace {

using btrfs::ExtentMap;

TEST_CASE("extent maps: the same place is found however extents are cut") {
  const ExtentMap one = {{0, 1000, 300}};
  const ExtentMap other = {{0, 1000, 100}, {100, 1100, 200}};
  CHECK(agreement({one}, {other}, 300).bytes == 300);
  CHECK(agreement({one}, {other}, 300).certain);
  CHECK(agreement({one, 100}, {other, 100}, 150).bytes == 150);
  CHECK(agreement({one, 100}, {other}, 100).bytes == 0);
}

TEST_CASE("extent maps: holes agree with holes") {
  const ExtentMap one = {{100, 1000, 100}};
  const ExtentMap other = {{100, 2000, 100}};
  CHECK(agreement({one}, {other}, 1000).bytes == 900);
  CHECK(agreement({{}}, {{}}, 1000).bytes == 1000);
  CHECK(agreement({one}, {{}}, 200).bytes == 100);
}

TEST_CASE("extent maps: what is in metadata agrees with nothing") {
  ExtentMap map = {{0, 0, 100}};
  map[0].placed = false;
  CHECK(agreement({map}, {map}, 100).bytes == 0);
}

TEST_CASE("extent maps: compressed extents agree where they begin, which is no proof") {
  ExtentMap map = {{0, 1000, 100}};
  map[0].packed = true;
  CHECK(agreement({map}, {map}, 100).bytes == 100);
  CHECK_FALSE(agreement({map}, {map}, 100).certain);
}

TEST_CASE("extent maps: what is used no more is released") {
  const ExtentMap before = {{0, 1000, 100}, {100, 5000, 100}};
  const ExtentMap after = {{0, 9000, 100}, {100, 5000, 100}};
  CHECK(released(before, after, true).bytes == 100);
  CHECK(released(before, {}, true).bytes == 200);
  CHECK(released(before, before, true).bytes == 0);
}

TEST_CASE("extent maps: a part of an extent is released where extents may go in part") {
  const ExtentMap before = {{0, 1000, 100}};
  const ExtentMap after = {{0, 9000, 40}, {40, 1040, 60}};
  CHECK(released(before, after, true).bytes == 0);
  CHECK(released(before, after, false).bytes == 40);
}

TEST_CASE("extent maps: what others use is not released") {
  ExtentMap before = {{0, 1000, 100}, {100, 5000, 100}};
  before[1].shared = true;
  CHECK(released(before, {}, true).bytes == 100);
}

TEST_CASE("extent maps: of compressed extents the unpacked length is told") {
  ExtentMap before = {{0, 1000, 100}, {100, 1020, 100}};
  for (auto& extent : before) extent.packed = true;
  CHECK(released(before, {}, false).bytes == 200);
  CHECK(released(before, {}, false).packed);
  ExtentMap after = before;
  after[0].address = 9000;
  CHECK(released(before, after, true).bytes == 100);
}

}  // namespace
}  // namespace skep::dedupe
