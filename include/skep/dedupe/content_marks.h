// SPDX-License-Identifier: MIT
//
// Which neighbourhoods hold something that is stored twice and has to do with extents that are
// read: extents elsewhere need not be read again, nor looked at once more. One bit for each 128 KiB
// of addresses, 1 MiB in all; addresses 1 TiB apart share a bit, which costs a needless look. The
// first 32,768 neighbourhoods (256 KiB) are listed too, so that the rest need not be walked over.
// Thread-compatible; reading from several threads is safe once marking is over.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace skep::dedupe {

// Extents that were read, and that no pass has looked at since: without a mark near them they are
// unique.
struct Unjudged {
  std::uint64_t extents = 0, bytes = 0;
};

class ContentMarks {
 public:
  static constexpr std::uint64_t kGranuleBytes = 128ULL << 10;

  void mark(std::uint64_t address) {
    if (bits_.empty()) bits_.resize(kBits);
    auto bit = bits_[granule(address) % kBits];
    if (bit && !everything_) return;
    bit = true;
    if (list_.size() < kMostListed) list_.push_back(granule(address) * kGranuleBytes);
    complete_ = complete_ && list_.size() < kMostListed;
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
  void mark_all() {
    bits_.assign(kBits, true);
    everything_ = true;
    complete_ = false;
  }
  void clear() { *this = ContentMarks(); }

  // True when list() names all that is marked.
  bool complete() const { return complete_; }
  // Where the marked neighbourhoods begin, ascending.
  std::vector<std::uint64_t> list() const {
    std::vector<std::uint64_t> out = list_;
    std::sort(out.begin(), out.end());
    return out;
  }

 private:
  static constexpr std::uint64_t kBits = 1ULL << 23;
  static constexpr std::size_t kMostListed = 32'768;
  static std::uint64_t granule(std::uint64_t address) { return address / kGranuleBytes; }
  std::vector<bool> bits_;
  std::vector<std::uint64_t> list_;
  bool everything_ = false;
  bool complete_ = true;
};

}  // namespace skep::dedupe
