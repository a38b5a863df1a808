// SPDX-License-Identifier: MIT
#include "skep/index/fingerprint.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "skep/btrfs/csum.h"

namespace skep::index {
namespace {

// Adding an odd constant keeps 0 from meaning 0: the checksum of some block may be 0.
constexpr std::uint64_t kStored = 0x9e3779b97f4a7c15ULL;
constexpr std::uint64_t kNodatasum = 0xd1b54a32d192ed03ULL;

Fingerprint finish(std::uint64_t value, std::uint64_t domain) {
  const Fingerprint out = mix(value + domain);
  return out == kNoFingerprint ? 1 : out;
}

}  // namespace

Fingerprinter::Fingerprinter(const btrfs::FsInfo& info, FingerprintKind kind)
    : kind_(kind), csum_type_(info.csum_type), csum_size_(info.csum_size) {
  const std::vector<std::byte> zeros(info.block_size);
  zero_ = from_block(zeros, false);
  nodatasum_zero_ = from_block(zeros, true);
}

int Fingerprinter::bits() const {
  return kind_ == FingerprintKind::kCsum && csum_type_ == btrfs::CsumType::kCrc32c ? 32 : 64;
}

Fingerprint Fingerprinter::from_csum(std::span<const std::byte> csum) const {
  std::uint64_t value = 0;
  std::memcpy(&value, csum.data(), std::min(csum.size(), sizeof value));
  return finish(value, kStored);
}

void Fingerprinter::to_csum(Fingerprint fingerprint, std::span<std::byte> csum) const {
  const std::uint64_t value = unmix(fingerprint) - kStored;
  std::memcpy(csum.data(), &value, std::min(csum.size(), sizeof value));
}

Fingerprint Fingerprinter::from_block(std::span<const std::byte> block, bool nodatasum) const {
  if (nodatasum) return finish(XXH3_64bits(block.data(), block.size()), kNodatasum);
  if (kind_ == FingerprintKind::kData) {
    return finish(XXH3_64bits(block.data(), block.size()), kStored);
  }
  const btrfs::Csum csum = btrfs::csum_of(csum_type_, block);
  return from_csum(std::span(csum).first(csum_size_));
}

}  // namespace skep::index
