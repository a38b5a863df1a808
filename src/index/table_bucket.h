// SPDX-License-Identifier: MIT
//
// Cells and buckets of the table, and the search in a bucket. man/skep-state.5, "Buckets and
// cells". Thread-compatible: whoever holds the table's lock.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "skep/index/fingerprint.h"
#include "skep/index/table.h"

namespace skep::index {

inline constexpr std::uint32_t kAddressBits = 42;
inline constexpr std::uint32_t kTagBits = 64 - kAddressBits;
inline constexpr std::uint64_t kAddressMask = (1ULL << kAddressBits) - 1;
inline constexpr std::size_t kCells = Table::kPageBytes / sizeof(std::uint64_t);
// A bucket's cells lie in cache lines; the top bits of the tag name the line where a cell belongs.
// When it is full the cell lies in the next line with room, so a search ends at the first line that
// is not full: one or two of 64. Measured: 65 ns with warm lines, 190 ns with cold ones.
inline constexpr std::size_t kLineCells = 64 / sizeof(std::uint64_t);
inline constexpr std::size_t kLines = kCells / kLineCells;
inline constexpr std::uint32_t kLineBits = 6;
static_assert(kLines == 1 << kLineBits);
static_assert(Table::kMaxLevel + kLineBits <= kTagBits, "sampled bits would choose the line");

// A cell of zero is empty: no data block has address 0 (btrfs keeps the first MiB).
using Cell = std::uint64_t;
inline std::uint64_t tag_of(Fingerprint f) { return f & ((1ULL << kTagBits) - 1); }
inline std::uint64_t tag_of_cell(Cell cell) { return cell >> kAddressBits; }
inline std::size_t line_of(std::uint64_t tag) { return tag >> (kTagBits - kLineBits); }
inline Cell make_cell(Fingerprint f, std::uint64_t block) {
  return tag_of(f) << kAddressBits | block;
}
// Of a fingerprint or a tag: sampling looks at low bits, which both have.
inline bool sampled_at(std::uint64_t tag, std::uint32_t level) {
  return (tag & ((1ULL << level) - 1)) == 0;
}
// How many cells of a table may be in use; beyond it the sampling level rises.
inline std::uint64_t most_cells(std::uint64_t buckets) { return buckets * kCells / 8 * 7; }

// Cells of a line are in use from its front; a free cell ends the line, and the search.
struct Bucket {
  Cell cells[kCells];

  std::span<Cell, kLineCells> line(std::size_t index) {
    return std::span<Cell, kLineCells>(cells + index % kLines * kLineCells, kLineCells);
  }
  std::span<const Cell, kLineCells> line(std::size_t index) const {
    return std::span<const Cell, kLineCells>(cells + index % kLines * kLineCells, kLineCells);
  }
  // Calls `visit` with each cell of the tag, nearest first, until it returns false.
  template <typename Visit>
  void find(std::uint64_t tag, Visit visit) {
    for (std::size_t i = 0; i < kLines; ++i) {
      for (Cell& cell : line(line_of(tag) + i)) {
        if (cell == 0) return;
        if (tag_of_cell(cell) == tag && !visit(cell)) return;
      }
    }
  }
  // The cell of this content, or null.
  Cell* find_cell(Cell wanted) {
    Cell* found = nullptr;
    find(tag_of_cell(wanted), [&](Cell& cell) {
      if (cell == wanted) found = &cell;
      return found == nullptr;
    });
    return found;
  }
  // The first free cell for the tag, or null when the bucket is full.
  Cell* free_cell(std::uint64_t tag) {
    for (std::size_t i = 0; i < kLines; ++i) {
      auto at = line(line_of(tag) + i);
      if (at.back() == 0) return &*std::find(at.begin(), at.end(), Cell{0});
    }
    return nullptr;
  }
  void remove(Cell& cell);
};
static_assert(sizeof(Bucket) == Table::kPageBytes);

}  // namespace skep::index
