// SPDX-License-Identifier: MIT
//
// In which buckets a fingerprint's cells may be. man/skep-state.5, "Resizing".
//
// In a table that was never resized there is one such bucket, its home, chosen by the high half of
// the fingerprint. Resizing moves cells without knowing that half: a cell goes where its bucket and
// its tag say. So for each former size there is one more place: the home of that size, moved from
// size to size like the cell was. Most of them are the same one.
//
// Measured (table_bench, a half full table of 4 MiB, best of 20): a look-up takes 154 ns where
// there is one place, 200 ns in a table that has grown once, and 160 to 185 ns in one that has
// shrunk to 128 KiB and grown again.
//
// Values; thread-safe once made.
#pragma once

#include <absl/container/inlined_vector.h>

#include <algorithm>
#include <cstdint>
#include <span>

#include "skep/index/fingerprint.h"
#include "skep/index/table.h"
#include "table_bucket.h"

namespace skep::index {

inline std::uint64_t home_bucket(Fingerprint fingerprint, std::uint64_t buckets) {
  return (fingerprint >> 32) * buckets >> 32;
}

// Where resizing from `from` to `to` buckets puts the cells of a bucket. The 8 bits of the tag
// spread a bucket over 256 places; it has no more than 512 cells, so more would spread no better.
inline std::uint64_t moved_bucket(std::uint64_t bucket, std::uint64_t from, std::uint64_t to,
                                  std::uint64_t tag) {
  static_assert(Table::kMaxBytes / Table::kPageBytes <= 1ULL << 28, "28 + 8 + 28 bits");
  return ((bucket << 8 | mix(tag) >> 56) * to / from) >> 8;
}

class Places {
 public:
  using Sizes = absl::InlinedVector<std::uint64_t, Table::kMaxFormer + 1>;
  using List = absl::InlinedVector<std::uint64_t, Table::kMaxFormer + 1>;

  Places() = default;
  // `former` in buckets, oldest first; zeros end it.
  Places(std::uint64_t buckets, std::span<const std::uint64_t> former) : present_(buckets) {
    for (const std::uint64_t size : former) {
      if (size == 0) break;
      former_.push_back(size);
    }
  }

  std::uint64_t buckets() const { return present_; }
  const Sizes& former() const { return former_; }
  std::uint64_t home(Fingerprint fingerprint) const { return home_bucket(fingerprint, present_); }
  // All places, each once, the home first.
  List of(Fingerprint fingerprint) const {
    if (former_.empty()) return {home(fingerprint)};
    return with_former(fingerprint);
  }
  // Of the table that has `buckets` from now on: what is moved there must be found there. The list
  // of former sizes is kept short.
  Places resized(std::uint64_t buckets) const;

 private:
  List with_former(Fingerprint fingerprint) const;

  std::uint64_t present_ = 0;
  Sizes former_;
};

}  // namespace skep::index
