// SPDX-License-Identifier: MIT
#include "skep/dedupe/block_places.h"

namespace skep::dedupe {

BlockPlaces::BlockPlaces(std::uint64_t blocks) {
  std::size_t size = 1024;
  while (size < kMaxPlaces && size < 2 * blocks) size *= 2;
  places_.resize(size);
  // At most half of it gets used, on average.
  for (std::uint64_t sampled = blocks; sampled > size / 2; sampled /= 2) {
    sample_mask_ = sample_mask_ << 1 | 1;
  }
}

std::size_t BlockPlaces::slot_of(std::uint64_t hash) const {
  // The low bits chose it for the sample.
  std::size_t slot = (hash >> 24) & (places_.size() - 1);
  while (places_[slot].hash != 0 && places_[slot].hash != hash) {
    slot = (slot + 1) & (places_.size() - 1);
  }
  return slot;
}

const BlockPlaces::Place* BlockPlaces::find(std::uint64_t hash) const {
  if (!sampled(hash)) return nullptr;
  const Place& place = places_[slot_of(hash)];
  return place.hash == 0 ? nullptr : &place;
}

void BlockPlaces::add(const Place& place) {
  // Some stay free, so that each search ends.
  if (!sampled(place.hash) || used_ >= places_.size() / 8 * 7) return;
  Place& slot = places_[slot_of(place.hash)];
  if (slot.hash != 0) return;
  slot = place;
  ++used_;
}

}  // namespace skep::dedupe
