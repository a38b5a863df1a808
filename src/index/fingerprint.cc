// SPDX-License-Identifier: MIT
#include "skep/index/fingerprint.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "skep/btrfs/crc32c.h"

namespace skep::index {
namespace {

template <typename T>
Fingerprint from_value(const Fingerprinter& fingerprinter, T value) {
  return fingerprinter.from_csum(std::as_bytes(std::span<const T>(&value, 1)));
}

}  // namespace

Fingerprinter::Fingerprinter(const btrfs::FsInfo& info) : csum_size_(info.csum_size) {
  const std::vector<std::byte> zeros(info.block_size);
  if (info.csum_type == btrfs::CsumType::kCrc32c) {
    zero_ = from_value(*this, btrfs::crc32c(zeros));
  } else if (info.csum_type == btrfs::CsumType::kXxhash64) {
    zero_ = from_value(*this, static_cast<std::uint64_t>(XXH64(zeros.data(), zeros.size(), 0)));
  }
}

Fingerprint Fingerprinter::from_csum(std::span<const std::byte> csum) const {
  std::uint64_t value = 0;
  std::memcpy(&value, csum.data(), std::min(csum.size(), sizeof value));
  // Adding an odd constant keeps 0 from meaning 0: btrfs's checksum of some block may be 0.
  const Fingerprint out = mix(value + 0x9e3779b97f4a7c15ULL);
  return out == kNoFingerprint ? 1 : out;
}

}  // namespace skep::index
