// SPDX-License-Identifier: MIT
//
// 64 bits that stand for a block's content within one filesystem.
//
// For checksummed data they come from the csum tree, without reading the data: the first 8 bytes
// of the stored checksum (4 for crc32c), mixed so that every bit of the result depends on all of
// them. Equal content gives equal fingerprints; the reverse is a guess that FIDEDUPERANGE checks.
// With crc32c the guess has 32 bits: a lone block meets a stranger with probability
// entries / 2^32, 8e-5 at 356,000 blocks (1.4 GiB) and 6 % at 1 TiB.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "skep/btrfs/types.h"

namespace skep::index {

using Fingerprint = std::uint64_t;

// No checksum, or a block that nothing shall match. Never the fingerprint of a block.
inline constexpr Fingerprint kNoFingerprint = 0;

// A bijection of 64 bits (the finalizer of splitmix64) that spreads short checksums.
constexpr std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// The fingerprint of a file's last block when the file ends `length` bytes inside it: such blocks
// are shared only among themselves (the kernel's tail rule), so they have keys of their own.
constexpr Fingerprint tail_fingerprint(Fingerprint block, std::uint32_t length) {
  const Fingerprint tail = mix(block ^ (0x7461696cULL << 32 | length));
  return tail == kNoFingerprint ? 1 : tail;
}

// Makes fingerprints for one filesystem. Immutable, thread-safe.
class Fingerprinter {
 public:
  explicit Fingerprinter(const btrfs::FsInfo& info);

  // Of one block's stored checksum (FsInfo::csum_size bytes).
  Fingerprint from_csum(std::span<const std::byte> csum) const;
  std::size_t csum_size() const { return csum_size_; }
  // Of a block of zeros, computed (block sizes differ); kNoFingerprint where the checksum function
  // is not at hand (sha256, blake2b): zero blocks are then like any other.
  Fingerprint zero() const { return zero_; }

 private:
  const std::size_t csum_size_;
  Fingerprint zero_ = kNoFingerprint;
};

}  // namespace skep::index
