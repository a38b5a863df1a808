// SPDX-License-Identifier: MIT
#include "skep/btrfs/csum.h"

#include <gcrypt.h>
#include <xxhash.h>

#include <cstdint>
#include <cstring>

#include "skep/btrfs/crc32c.h"

namespace skep::btrfs {
namespace {

template <typename T>
void store(Csum& out, T value) {
  std::memcpy(out.data(), &value, sizeof value);  // little-endian, as everything in btrfs
}

void digest(int algorithm, std::span<const std::byte> block, Csum& out) {
  // Must be called once before anything else of libgcrypt; static locals are made once.
  static const bool ready = gcry_check_version(nullptr) != nullptr;
  if (ready) gcry_md_hash_buffer(algorithm, out.data(), block.data(), block.size());
}

}  // namespace

Csum csum_of(CsumType type, std::span<const std::byte> block) {
  Csum out{};
  switch (type) {
    case CsumType::kCrc32c:
      store(out, crc32c(block));
      break;
    case CsumType::kXxhash64:
      store(out, static_cast<std::uint64_t>(XXH64(block.data(), block.size(), 0)));
      break;
    case CsumType::kSha256:
      digest(GCRY_MD_SHA256, block, out);
      break;
    case CsumType::kBlake2b:
      digest(GCRY_MD_BLAKE2B_256, block, out);
      break;
  }
  return out;
}

}  // namespace skep::btrfs
