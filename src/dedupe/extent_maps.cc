// SPDX-License-Identifier: MIT
#include "skep/dedupe/extent_maps.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace skep::dedupe {
namespace {

using btrfs::ExtentMap;
using btrfs::MappedExtent;

// Walks over a file from one change of the map to the next.
class Walk {
 public:
  explicit Walk(const FileRange& range) : map_(range.map), at_(range.offset) {
    next_ = std::partition_point(map_.begin(), map_.end(), [this](const MappedExtent& extent) {
      return extent.offset + extent.length <= at_;
    });
  }
  // The extent here; null in a hole.
  const MappedExtent* here() const {
    return next_ != map_.end() && next_->offset <= at_ ? &*next_ : nullptr;
  }
  // Bytes to where that changes.
  std::uint64_t left() const {
    if (next_ == map_.end()) return ~0ULL;
    return (next_->offset <= at_ ? next_->offset + next_->length : next_->offset) - at_;
  }
  void advance(std::uint64_t bytes) {
    at_ += bytes;
    while (next_ != map_.end() && next_->offset + next_->length <= at_) ++next_;
  }
  std::uint64_t at() const { return at_; }

 private:
  const ExtentMap& map_;
  std::uint64_t at_;
  ExtentMap::const_iterator next_;
};

bool same_place(const Walk& one, const Walk& other) {
  const MappedExtent *a = one.here(), *b = other.here();
  if (a == nullptr || b == nullptr) return a == b;
  if (!a->placed || !b->placed || a->packed != b->packed) return false;
  if (a->packed) return a->address == b->address;
  return a->address + (one.at() - a->offset) == b->address + (other.at() - b->offset);
}

using Stretch = std::pair<std::uint64_t, std::uint64_t>;  // of addresses: first, end

// Of a compressed extent the map has the unpacked length, which says nothing about addresses.
Stretch stretch_of(const MappedExtent& extent) {
  return {extent.address, extent.address + (extent.packed ? 1 : extent.length)};
}

std::vector<Stretch> stretches(const ExtentMap& map) {
  std::vector<Stretch> out;
  for (const MappedExtent& extent : map) {
    if (extent.placed) out.push_back(stretch_of(extent));
  }
  std::sort(out.begin(), out.end());
  // They may overlap, where a file uses something twice.
  std::size_t last = 0;
  for (std::size_t i = 1; i < out.size(); ++i) {
    if (out[i].first <= out[last].second) {
      out[last].second = std::max(out[last].second, out[i].second);
    } else {
      out[++last] = out[i];
    }
  }
  if (!out.empty()) out.resize(last + 1);
  return out;
}

// Bytes of `of` that are in `used`, which is sorted and without overlaps.
std::uint64_t still_used(const Stretch& of, const std::vector<Stretch>& used) {
  auto at = std::partition_point(used.begin(), used.end(),
                                 [&](const Stretch& s) { return s.second <= of.first; });
  std::uint64_t bytes = 0;
  for (; at != used.end() && at->first < of.second; ++at) {
    bytes += std::min(at->second, of.second) - std::max(at->first, of.first);
  }
  return bytes;
}

}  // namespace

Agreement agreement(const FileRange& one, const FileRange& other, std::uint64_t length) {
  Agreement out;
  Walk a(one), b(other);
  while (length != 0) {
    const std::uint64_t step = std::min({length, a.left(), b.left()});
    if (same_place(a, b)) {
      out.bytes += step;
      out.certain = out.certain && (a.here() == nullptr || !a.here()->packed);
    }
    a.advance(step);
    b.advance(step);
    length -= step;
  }
  return out;
}

Released released(const ExtentMap& before, const ExtentMap& after, bool whole_extents) {
  Released out;
  const std::vector<Stretch> used = stretches(after);
  std::uint64_t last = ~0ULL;  // a packed extent may stand in the map twice in a row
  for (const MappedExtent& extent : before) {
    if (!extent.placed || extent.shared) continue;
    const std::uint64_t kept = still_used(stretch_of(extent), used);
    if (kept != 0 && (whole_extents || extent.packed)) continue;
    if (extent.packed && extent.address == last) continue;
    out.bytes += extent.length - kept;
    out.packed = out.packed || extent.packed;
    last = extent.address;
  }
  return out;
}

}  // namespace skep::dedupe
