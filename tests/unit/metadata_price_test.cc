// SPDX-License-Identifier: MIT
#include "skep/dedupe/metadata_price.h"

#include "catch.h"

namespace skep::dedupe {
namespace {

using btrfs::FileHandle;

constexpr std::uint64_t kNode = 16384;

// A small file at the same place in `roots` subvolumes, as snapshots leave it.
std::vector<Reference> in_snapshots(std::uint64_t inode, std::uint64_t roots,
                                    std::uint64_t size = 8192) {
  std::vector<Reference> out;
  for (std::uint64_t root = 256; root < 256 + roots; ++root) {
    out.push_back({FileHandle({root, inode}), 0, 0, size, size});
  }
  return out;
}

TEST_CASE("without snapshots no leaf is unshared, and items count from the second on") {
  const MetadataPrice price(kNode, 1);
  const std::vector<Reference> references = {{FileHandle({5, 300}), 0, 0, 8192, 8192},
                                             {FileHandle({5, 301}), 0, 0, 8192, 8192}};
  const auto same = price.needs(references, 2);
  CHECK(same.leaves.empty());
  CHECK(same.new_items == 0);
  CHECK(price.needs(references, 5).new_items == 3);
  CHECK(price.price(0, 0) == 0);
  CHECK(price.price(0, 3) > 0);
  CHECK(price.price(0, 3) < 1024);
}

TEST_CASE("each snapshot but one unshares a leaf") {
  const MetadataPrice price(kNode, 1);
  const auto needs = price.needs(in_snapshots(300, 4), 4);
  CHECK(needs.leaves.size() == 3);
  CHECK(needs.new_items == 3);
  CHECK(price.price(3, 0) >= 3 * kNode);
}

TEST_CASE("references in one leaf pay for it once") {
  const MetadataPrice price(kNode, 1);
  auto references = in_snapshots(320, 3);
  const auto neighbours = in_snapshots(321, 3);
  references.insert(references.end(), neighbours.begin(), neighbours.end());
  CHECK(price.needs(references, 6).leaves.size() == 2);
}

TEST_CASE("a leaf holds as many small files as its size leaves room for") {
  std::vector<Reference> references;
  for (std::uint64_t inode = 320; inode < 320 + 320; ++inode) {
    const auto file = in_snapshots(inode, 2);
    references.insert(references.end(), file.begin(), file.end());
  }
  const auto leaves = [&](std::uint64_t node) {
    return MetadataPrice(static_cast<std::uint32_t>(node), 1).needs(references, 640).leaves.size();
  };
  CHECK(leaves(kNode) == 8);
  CHECK(leaves(kNode / 4) == 32);
  CHECK(leaves(kNode * 4) == 2);
}

TEST_CASE("a leaf of a large file holds as many of its extents as its size leaves room for") {
  std::vector<Reference> references;
  for (const std::uint64_t root : {256, 257}) {
    for (std::uint64_t offset = 0; offset < (64ULL << 20); offset += 1ULL << 20) {
      references.push_back({FileHandle({root, 300}), offset, 0, 4096, 64ULL << 20});
    }
  }
  const auto leaves = [&](std::uint64_t node) {
    return MetadataPrice(static_cast<std::uint32_t>(node), 1).needs(references, 128).leaves.size();
  };
  CHECK(leaves(kNode) == 16);
  CHECK(leaves(kNode / 4) == 64);
  CHECK(leaves(kNode * 4) == 4);
}

TEST_CASE("parts of a large file that lie far apart are in leaves of their own") {
  const MetadataPrice price(kNode, 1);
  std::vector<Reference> references;
  for (const std::uint64_t root : {256, 257}) {
    for (const std::uint64_t offset : {0ULL, 64ULL << 20}) {
      references.push_back({FileHandle({root, 300}), offset, 0, 4096, 128ULL << 20});
    }
  }
  CHECK(price.needs(references, 4).leaves.size() == 2);
}

TEST_CASE("leaves that were unshared before are free") {
  MetadataPrice price(kNode, 1);
  const auto first = price.needs(in_snapshots(320, 4), 4);
  REQUIRE(first.leaves.size() == 3);
  price.unshared(first);
  CHECK(price.needs(in_snapshots(320, 4), 4).leaves.empty());
  CHECK(price.needs(in_snapshots(321, 4), 4).leaves.empty());       // a neighbour
  CHECK(price.needs(in_snapshots(320, 6), 6).leaves.size() == 2);   // snapshots come since
  CHECK(price.needs(in_snapshots(9000, 4), 4).leaves.size() == 3);  // far from it
}

TEST_CASE("metadata that is stored twice costs twice") {
  const MetadataPrice one(kNode, 1), two(kNode, 2);
  CHECK(two.price(10, 0) == 2 * one.price(10, 0));
}

TEST_CASE("the estimate is corrected by what is seen") {
  MetadataPrice price(kNode, 1);
  const std::uint64_t before = price.price(100, 0);
  CHECK(price.correction() == 1);
  SECTION("upwards") {
    price.learn(8 << 20, 16 << 20);
    CHECK(price.correction() == Catch::Approx(2));
    CHECK(price.price(100, 0) == 2 * before);
    price.learn(16 << 20, 24 << 20);
    CHECK(price.correction() == Catch::Approx(3));
  }
  SECTION("downwards") {
    price.learn(8 << 20, 6 << 20);
    CHECK(price.correction() == Catch::Approx(0.75));
    CHECK(price.price(100, 0) < before);
  }
  SECTION("within bounds") {
    price.learn(8 << 20, 800 << 20);
    CHECK(price.correction() == Catch::Approx(4));
    for (int i = 0; i < 5; ++i) price.learn(8 << 20, 0);
    CHECK(price.correction() == Catch::Approx(0.5));
  }
  SECTION("not by a little alone, but by many a little") {
    price.learn(1 << 20, 2 << 20);
    CHECK(price.correction() == 1);
    price.learn(1 << 20, 2 << 20);
    CHECK(price.correction() == Catch::Approx(2));
  }
}

}  // namespace
}  // namespace skep::dedupe
