// SPDX-License-Identifier: MIT
#include "skep/index/fingerprint.h"

#include <set>

#include "skep/btrfs/crc32c.h"
#include "skep/btrfs/csum.h"
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

TEST_CASE("a block that was read has the fingerprint of its stored checksum") {
  using Case = std::pair<btrfs::CsumType, std::uint16_t>;
  const auto [type, size] =
      GENERATE(Case{btrfs::CsumType::kCrc32c, 4}, Case{btrfs::CsumType::kXxhash64, 8},
               Case{btrfs::CsumType::kSha256, 32}, Case{btrfs::CsumType::kBlake2b, 32});
  INFO(btrfs::to_string(type));
  const Fingerprinter fingerprinter(info_of(4096, type, size));
  const Bytes block = random_bytes(3, 4096);
  const btrfs::Csum csum = btrfs::csum_of(type, block);
  CHECK(fingerprinter.from_block(block, false) ==
        fingerprinter.from_csum(std::span(csum).first(size)));
  CHECK(fingerprinter.zero() == fingerprinter.from_block(Bytes(4096), false));
  CHECK(fingerprinter.is_zero(fingerprinter.zero()));
  CHECK_FALSE(fingerprinter.is_zero(fingerprinter.from_block(block, false)));
  CHECK(fingerprinter.bits() == (type == btrfs::CsumType::kCrc32c ? 32 : 64));
}

TEST_CASE("a block without checksum meets none that has one") {
  const Fingerprinter csums(info_of(4096, btrfs::CsumType::kXxhash64, 8));
  const Fingerprinter data(info_of(4096, btrfs::CsumType::kXxhash64, 8), FingerprintKind::kData);
  const Bytes block = random_bytes(3, 4096);
  CHECK(csums.from_block(block, true) != csums.from_block(block, false));
  CHECK(data.from_block(block, true) != data.from_block(block, false));
  CHECK(csums.zero(true) != csums.zero(false));
  CHECK(csums.is_zero(csums.zero(true)));
  CHECK(data.from_block(block, false) != csums.from_block(block, false));
  CHECK(data.bits() == 64);
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
