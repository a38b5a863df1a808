// SPDX-License-Identifier: MIT
//
// Blocks that differ and have the same crc32c.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace skep::testing {

// The bits of CRC-32C's polynomial, in the order in which the checksum meets them: adding them to a
// message leaves its checksum as it is.
constexpr std::array<unsigned char, 5> polynomial_bytes() {
  constexpr std::uint32_t kPolynomial = 0x1EDC6F41;
  std::array<unsigned char, 5> out{1};
  for (unsigned bit = 1; bit <= 32; ++bit) {
    if (kPolynomial >> (32 - bit) & 1) out[bit / 8] |= static_cast<unsigned char>(1U << bit % 8);
  }
  return out;
}

// Changes some bytes of a block from `at` on, but not its crc32c.
inline void change_without_checksum(std::span<std::byte> block, std::size_t at = 1000) {
  constexpr auto kPattern = polynomial_bytes();
  for (std::size_t i = 0; i < kPattern.size(); ++i) block[at + i] ^= std::byte{kPattern[i]};
}

}  // namespace skep::testing
