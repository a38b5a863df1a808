// SPDX-License-Identifier: MIT
//
// Reads little-endian fields from bytes that cannot be trusted.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace skep::btrfs {

static_assert(std::endian::native == std::endian::little, "fields are read without swapping");

// The field of type T at `offset`, or a zero T when it does not fit; check size() beforehand where
// the difference matters.
template <typename T>
T load(std::span<const std::byte> bytes, std::size_t offset) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value{};
  if (offset <= bytes.size() && bytes.size() - offset >= sizeof(T)) {
    std::memcpy(&value, bytes.data() + offset, sizeof(T));
  }
  return value;
}

}  // namespace skep::btrfs
