// SPDX-License-Identifier: MIT
#include "skep/index/fingerprint.h"

#include <set>

#include "skep/btrfs/crc32c.h"
#include "testing.h"

namespace skep::index {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix

btrfs::FsInfo info_of(std::uint32_t block_size, btrfs::CsumType type, std::uint16_t size) {
  btrfs::FsInfo info;
  info.block_size = block_size;
  info.csum_type = type;
  info.csum_size = size;
  return info;
}

std::span<const std::byte> bytes_of(const std::uint32_t& value) {
  return std::as_bytes(std::span(&value, 1));
}

TEST_CASE("the fingerprint of zeros is that of their checksum, whatever the block size") {
  for (const std::uint32_t size : {4096U, 16384U, 65536U}) {
    const Fingerprinter fingerprinter(info_of(size, btrfs::CsumType::kCrc32c, 4));
    const Bytes zeros(size);
    const std::uint32_t csum = btrfs::crc32c(zeros);
    CHECK(fingerprinter.zero() == fingerprinter.from_csum(bytes_of(csum)));
    CHECK(fingerprinter.zero() != kNoFingerprint);
  }
}

TEST_CASE("zeros of other block sizes have other fingerprints") {
  std::set<Fingerprint> seen;
  for (const std::uint32_t size : {4096U, 16384U, 65536U}) {
    seen.insert(Fingerprinter(info_of(size, btrfs::CsumType::kCrc32c, 4)).zero());
  }
  CHECK(seen.size() == 3);
}

TEST_CASE("where the checksum function is not at hand no block counts as zero") {
  CHECK(Fingerprinter(info_of(4096, btrfs::CsumType::kSha256, 32)).zero() == kNoFingerprint);
  CHECK(Fingerprinter(info_of(4096, btrfs::CsumType::kBlake2b, 32)).zero() == kNoFingerprint);
  CHECK(Fingerprinter(info_of(4096, btrfs::CsumType::kXxhash64, 8)).zero() != kNoFingerprint);
}

TEST_CASE("equal checksums have equal fingerprints, others differ, and none is that of no block") {
  const Fingerprinter fingerprinter(info_of(4096, btrfs::CsumType::kCrc32c, 4));
  std::set<Fingerprint> seen;
  for (std::uint32_t csum = 0; csum < 100'000; ++csum) {
    const Fingerprint f = fingerprinter.from_csum(bytes_of(csum));
    REQUIRE(f != kNoFingerprint);
    REQUIRE(f == fingerprinter.from_csum(bytes_of(csum)));
    seen.insert(f);
  }
  CHECK(seen.size() == 100'000);
}

TEST_CASE("of a long checksum the first eight bytes count") {
  const Fingerprinter fingerprinter(info_of(4096, btrfs::CsumType::kSha256, 32));
  Bytes csum = random_bytes(1, 32);
  const Fingerprint before = fingerprinter.from_csum(csum);
  csum[8] ^= std::byte{1};
  CHECK(fingerprinter.from_csum(csum) == before);
  csum[7] ^= std::byte{1};
  CHECK(fingerprinter.from_csum(csum) != before);
  CHECK(fingerprinter.csum_size() == 32);
}

TEST_CASE("tails have fingerprints by content and by length, apart from whole blocks") {
  const Fingerprint block = mix(42);
  std::set<Fingerprint> seen = {block};
  for (std::uint32_t length = 1; length < 4096; ++length) {
    seen.insert(tail_fingerprint(block, length));
  }
  CHECK(seen.size() == 4096);
  CHECK(tail_fingerprint(block, 5) == tail_fingerprint(block, 5));
  CHECK(tail_fingerprint(block, 5) != tail_fingerprint(mix(43), 5));
  CHECK_FALSE(seen.contains(kNoFingerprint));
}

TEST_CASE("mixing spreads short checksums over all 64 bits") {
  std::uint64_t ones[64] = {};
  for (std::uint64_t i = 0; i < 4096; ++i) {
    for (int bit = 0; bit < 64; ++bit) ones[bit] += mix(i + 1) >> bit & 1;
  }
  for (const std::uint64_t count : ones) {
    CHECK(count > 1800);
    CHECK(count < 2300);
  }
}

}  // namespace
}  // namespace skep::index
