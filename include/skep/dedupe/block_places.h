// SPDX-License-Identifier: MIT
//
// Where a block of some content stands, of blocks that are met one after another: a table of
// bounded size. 16 bytes a place, so that 64 MiB hold 2 million blocks, half full: 8 GiB of data.
// Of more blocks only those are taken whose hash ends in zeros, one in two, or in four, and so on:
// chosen by content, so that equal blocks make the same choice. Thread-compatible.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace skep::dedupe {

class BlockPlaces {
 public:
  static constexpr std::size_t kMaxPlaces = 1 << 22;  // 64 MiB

  struct Place {
    std::uint64_t hash = 0;  // 0: none
    std::uint32_t file = 0;
    std::uint32_t block = 0;  // 16 TiB at 4 KiB
  };
  static_assert(sizeof(Place) == 16);

  // `blocks` are to come, at most.
  explicit BlockPlaces(std::uint64_t blocks);
  // Null for what is not there, or not sampled.
  const Place* find(std::uint64_t hash) const;
  // The first place of a hash stays.
  void add(const Place& place);
  bool sampled(std::uint64_t hash) const { return hash != 0 && (hash & sample_mask_) == 0; }

 private:
  std::size_t slot_of(std::uint64_t hash) const;

  std::vector<Place> places_;
  std::uint64_t sample_mask_ = 0;
  std::size_t used_ = 0;
};

}  // namespace skep::dedupe
