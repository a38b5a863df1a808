// SPDX-License-Identifier: MIT
#include "table_places.h"

namespace skep::index {

// Walks from the oldest size to the present one with the places of all sizes so far. They fall
// together at each shrinking, so the list stays short.
Places::List Places::with_former(Fingerprint fingerprint) const {
  const std::uint64_t tag = tag_of(fingerprint);
  List places, next;
  for (std::size_t i = 0; i <= former_.size(); ++i) {
    const std::uint64_t size = i < former_.size() ? former_[i] : present_;
    next.assign(1, home_bucket(fingerprint, size));
    for (const std::uint64_t place : places) {
      const std::uint64_t moved = moved_bucket(place, former_[i - 1], size, tag);
      if (std::find(next.begin(), next.end(), moved) == next.end()) next.push_back(moved);
    }
    places.swap(next);
  }
  return places;
}

Places Places::resized(std::uint64_t buckets) const {
  Places out;
  out.present_ = buckets;
  out.former_ = former_;
  out.former_.push_back(present_);
  if (out.former_.size() > Table::kMaxFormer) out.former_.erase(out.former_.begin());
  // Where the next size divides the oldest, the home of the one moves to the home of the other.
  const auto next = [&] { return out.former_.size() > 1 ? out.former_[1] : buckets; };
  while (!out.former_.empty() && out.former_.front() % next() == 0) {
    out.former_.erase(out.former_.begin());
  }
  return out;
}

}  // namespace skep::index
