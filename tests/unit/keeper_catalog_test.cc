// SPDX-License-Identifier: MIT
#include "skep/dedupe/keeper_catalog.h"

#include "catch.h"
#include "skep/btrfs/memory_filesystem.h"
#include "testing.h"

namespace skep::dedupe {
namespace {

using testing::kBlock;
constexpr std::uint32_t kTail = 100;

struct CatalogFixture {
  btrfs::MemoryFilesystem fs;
  PhaseGate gate;
  Counters counters;
  Resolver resolver{fs, gate, counters};
  KeeperCatalog catalog{fs, resolver};

  // The last block of a file of `blocks` blocks that is an extent at `extent`.
  static NewReference tail(std::uint64_t extent, std::uint64_t blocks) {
    Reference reference;
    reference.file = btrfs::FileHandle({5, 257});
    reference.file_offset = reference.extent_offset = (blocks - 1) * kBlock;
    reference.length = kBlock;
    reference.file_size = reference.file_offset + kTail;
    return {extent + reference.extent_offset, extent, reference};
  }
  bool knows(const NewReference& reference) {
    return catalog.find_tail(reference.address, kTail).has_value();
  }
};

TEST_CASE_METHOD(CatalogFixture, "the tail of a file is found by the address of its block") {
  const NewReference tail = CatalogFixture::tail(1 << 20, 3);
  catalog.add(tail);
  const auto found = catalog.find_tail(tail.address, kTail);
  REQUIRE(found);
  CHECK(found->extent_address == 1 << 20);
  CHECK(found->offset == 2 * kBlock);
  CHECK(found->length == kTail);
  CHECK_FALSE(catalog.find_tail(tail.address, kTail + 1));
}

// Its file holds another extent then. A block that is shared from there gives that one a reference
// which nobody knows of, while it may be going itself.
TEST_CASE_METHOD(CatalogFixture, "of an extent that is gone no tail is found") {
  const NewReference before = tail((1 << 20) - kBlock, 1);
  const NewReference gone = tail(1 << 20, 3);
  const NewReference after = tail((1 << 20) + 3 * kBlock, 1);
  for (const NewReference& reference : {before, gone, after}) catalog.add(reference);
  catalog.forget(1 << 20, 3 * kBlock);
  CHECK(knows(before));
  CHECK_FALSE(knows(gone));
  CHECK(knows(after));
  // Another extent at the same place.
  catalog.add(gone);
  CHECK(knows(gone));
}

TEST_CASE_METHOD(CatalogFixture,
                 "the tail of a compressed extent lies beyond its end, and is forgotten") {
  const NewReference gone = tail(1 << 20, 20);
  const NewReference other = tail((1 << 20) + kBlock, 1);
  catalog.add(gone);
  catalog.add(other);
  catalog.forget(1 << 20, kBlock);
  CHECK_FALSE(knows(gone));
  CHECK(knows(other));
}

}  // namespace
}  // namespace skep::dedupe
