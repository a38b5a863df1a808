// SPDX-License-Identifier: MIT
#include "table_bucket.h"

namespace skep::index {

// Closes the gap, so that no search ends too early: the line's last cell moves up, and when the
// line was full, a cell that overflowed from it or from a line before it comes back.
void Bucket::remove(Cell& cell) {
  Cell* gap = &cell;
  auto at = static_cast<std::size_t>(gap - cells) / kLineCells;
  for (std::size_t moved = 0; moved < kLines; ++moved, ++at) {
    auto here = line(at);
    const bool was_full = here.back() != 0;
    auto last = std::find(here.begin(), here.end(), Cell{0}) - 1;
    *gap = *last;
    *last = 0;
    if (!was_full) return;
    gap = &*last;
    // A later line's cell that belongs here or before: it lies as far from home as it overflowed.
    Cell* back = nullptr;
    for (std::size_t i = 1; i < kLines && back == nullptr; ++i) {
      for (Cell& candidate : line(at + i)) {
        if (candidate == 0) break;
        const std::size_t overflow = (at + i - line_of(tag_of_cell(candidate))) % kLines;
        if (overflow >= i) {
          back = &candidate;
          break;
        }
      }
      if (line(at + i).back() == 0) break;
    }
    if (back == nullptr) return;
    *gap = *back;
    at = static_cast<std::size_t>(back - cells) / kLineCells - 1;
    gap = back;
  }
}

}  // namespace skep::index
