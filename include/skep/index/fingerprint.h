// SPDX-License-Identifier: MIT
//
// 64 bits that stand for a block's content within one filesystem.
//
// Of checksummed data that is not compressed they come from the csum tree, without reading it: the
// first 8 bytes of the stored checksum (4 for crc32c), mixed so that every bit of the result
// depends on all of them. Compressed data is read, and the same checksum function is applied to
// what it unpacks to, so that compressed and uncompressed copies meet. Data without checksums is
// read and hashed with XXH3, and so is everything with FingerprintKind::kData. Equal content gives
// equal fingerprints; the reverse is a guess that FIDEDUPERANGE checks.
//
// With crc32c the guess has 32 bits: a lone block meets a stranger with probability
// entries / 2^32. Entries are what the table and the caches hold, not what the filesystem does:
//
//   blocks of           entries           a lone block meets a stranger
//   1.4 GiB, all in the table   356,000   8e-5
//   28 GiB, 64 MiB table      7.3 million   0.2 %
//   1 TiB, 64 MiB table       7.3 million   0.2 % of those sampled, 1 block in 64
//   1 TiB, 2 GiB table        268 million   6 %
//
// Two blocks in a row meet strangers in a row with that probability times 2^-32: neighbours
// confirm. So a run of two blocks is believed; a lone block beside blocks that differ is read and
// compared, once, where strangers are frequent (limits::kStrangersFrequent), before a plan rests on
// it. The 64 bits of the other checksums and of XXH3 need none of this: 1 TiB has 2^28 blocks, so
// all its pairs together expect 2^55 / 2^64 = 0.002 strangers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "skep/btrfs/types.h"

namespace skep::index {

using Fingerprint = std::uint64_t;

// No checksum, or a block that nothing shall match. Never the fingerprint of a block.
inline constexpr Fingerprint kNoFingerprint = 0;

// Of what fingerprints are made; a table holds one kind.
enum class FingerprintKind : std::uint32_t {
  kCsum = 1,  // the filesystem's checksums
  kData = 2,  // XXH3 over the data, all of which is read
};

// A bijection of 64 bits (the finalizer of splitmix64) that spreads short checksums.
constexpr std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// The inverse of mix(): each step undone, last one first.
constexpr std::uint64_t unmix(std::uint64_t x) {
  x = (x ^ (x >> 31) ^ (x >> 62)) * 0x319642b2d24d8ec3ULL;
  x = (x ^ (x >> 27) ^ (x >> 54)) * 0x96de1b173f119089ULL;
  return x ^ (x >> 30) ^ (x >> 60);
}
static_assert(unmix(mix(0x0123456789abcdefULL)) == 0x0123456789abcdefULL);

// The fingerprint of a file's last block when the file ends `length` bytes inside it: such blocks
// are shared only among themselves (the kernel's tail rule), so they have keys of their own.
constexpr Fingerprint tail_fingerprint(Fingerprint block, std::uint32_t length) {
  if (block == kNoFingerprint) return kNoFingerprint;
  const Fingerprint tail = mix(block ^ (0x7461696cULL << 32 | length));
  return tail == kNoFingerprint ? 1 : tail;
}

// Makes fingerprints for one filesystem. Immutable, thread-safe.
class Fingerprinter {
 public:
  explicit Fingerprinter(const btrfs::FsInfo& info, FingerprintKind kind = FingerprintKind::kCsum);

  FingerprintKind kind() const { return kind_; }
  std::size_t csum_size() const { return csum_size_; }
  // Bits of content in a fingerprint: 32 for crc32c, else 64.
  int bits() const;

  // Of one block's stored checksum (FsInfo::csum_size bytes).
  Fingerprint from_csum(std::span<const std::byte> csum) const;
  // The checksum, up to its eighth byte, that from_csum() makes a fingerprint of; `csum` has room
  // for all of one.
  void to_csum(Fingerprint fingerprint, std::span<std::byte> csum) const;
  // Of one block's bytes. Without checksums (`nodatasum`) a block meets only its like.
  Fingerprint from_block(std::span<const std::byte> block, bool nodatasum) const;

  // Of a block of zeros, computed: block sizes differ.
  Fingerprint zero(bool nodatasum = false) const { return nodatasum ? nodatasum_zero_ : zero_; }
  bool is_zero(Fingerprint fingerprint) const {
    return fingerprint == zero_ || fingerprint == nodatasum_zero_;
  }

 private:
  const FingerprintKind kind_;
  const btrfs::CsumType csum_type_;
  const std::size_t csum_size_;
  Fingerprint zero_ = kNoFingerprint;
  Fingerprint nodatasum_zero_ = kNoFingerprint;
};

}  // namespace skep::index
