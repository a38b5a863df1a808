// SPDX-License-Identifier: MIT
//
// CRC-32C (Castagnoli) as btrfs stores it in the csum tree: initial value ~0, result inverted.
// Pure function, thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace skep::btrfs {

std::uint32_t crc32c(std::span<const std::byte> bytes);
// The same without special instructions, for processors that lack them.
std::uint32_t crc32c_portable(std::span<const std::byte> bytes);

}  // namespace skep::btrfs
