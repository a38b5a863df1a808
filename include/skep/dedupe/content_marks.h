// SPDX-License-Identifier: MIT
//
// Which neighbourhoods hold something that is stored twice and has to do with extents that are
// read: extents elsewhere need not be read again, nor looked at once more. One bit for each 128 KiB
// of addresses, 1 MiB in all; addresses 1 TiB apart share a bit, which costs a needless look.
// Thread-compatible; reading from several threads is safe once marking is over.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace skep::dedupe {

class ContentMarks {
 public:
  void mark(std::uint64_t address) {
    if (bits_.empty()) bits_.resize(kBits);
    bits_[granule(address) % kBits] = true;
  }
  // `reach` bytes around count too: where the table is sampled, not every block meets its like.
  bool near(std::uint64_t address, std::uint64_t length, std::uint64_t reach) const {
    if (bits_.empty()) return false;
    const std::uint64_t last = granule(address + length + reach - 1);
    for (std::uint64_t g = granule(address - std::min(address, reach)); g <= last; ++g) {
      if (bits_[g % kBits]) return true;
    }
    return false;
  }
  bool any() const { return !bits_.empty(); }
  // Where marks were lost, everything is worth a look.
  void mark_all() { bits_.assign(kBits, true); }

 private:
  static constexpr std::uint64_t kBits = 1ULL << 23;
  static std::uint64_t granule(std::uint64_t address) { return address >> 17; }
  std::vector<bool> bits_;
};

}  // namespace skep::dedupe
