// SPDX-License-Identifier: MIT
#include "skep/btrfs/types.h"

#include <fmt/format.h>

namespace skep::btrfs {

std::string to_string(const Uuid& uuid) {
  std::string out;
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
    out += fmt::format("{:02x}", uuid[i]);
  }
  return out;
}

std::string to_string(CsumType type) {
  switch (type) {
    case CsumType::kCrc32c:
      return "crc32c";
    case CsumType::kXxhash64:
      return "xxhash64";
    case CsumType::kSha256:
      return "sha256";
    case CsumType::kBlake2b:
      return "blake2b";
  }
  return fmt::format("csum type {}", static_cast<unsigned>(type));
}

}  // namespace skep::btrfs
