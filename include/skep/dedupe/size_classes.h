// SPDX-License-Identifier: MIT
//
// Extents by their length, in powers of two: class i has the lengths from 4 KiB << i to twice that,
// the first one what is shorter, too, the last one (128 MiB) what is longer. Plain values.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "skep/btrfs/types.h"

namespace skep::dedupe {

struct SizeClasses {
  static constexpr std::size_t kCount = 16;
  static constexpr std::uint64_t kFirst = 4096;
  static_assert(kFirst << (kCount - 1) == btrfs::kMaxWrittenLength);

  std::array<std::uint64_t, kCount> extents{};
  std::array<std::uint64_t, kCount> bytes{};

  static std::size_t class_of(std::uint64_t length) {
    const auto width = std::bit_width(std::max(length, kFirst)) - std::bit_width(kFirst);
    return std::min(static_cast<std::size_t>(width), kCount - 1);
  }
  static std::uint64_t least_of(std::size_t size_class) { return kFirst << size_class; }
  void add(std::uint64_t length) {
    const std::size_t at = class_of(length);
    ++extents[at];
    bytes[at] += length;
  }
  bool operator==(const SizeClasses&) const = default;
};

}  // namespace skep::dedupe
