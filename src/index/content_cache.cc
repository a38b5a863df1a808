// SPDX-License-Identifier: MIT
#include "skep/index/content_cache.h"

#include <algorithm>

namespace skep::index {

ContentCache::ContentCache(const Fingerprinter& fingerprinter, std::uint32_t block_size,
                           std::uint32_t capacity_blocks)
    : fingerprinter_(fingerprinter), block_(block_size), capacity_(capacity_blocks) {}

// Filesystems where nothing has to be read pay nothing.
void ContentCache::allocate() {
  if (!blocks_.empty()) return;
  blocks_ = ZeroedArray<Fingerprint>(capacity_);
  next_ = ZeroedArray<std::uint32_t>(capacity_);
  heads_ = ZeroedArray<std::uint32_t>(capacity_);
}

void ContentCache::insert(const ReadExtent& extent, std::uint64_t first,
                          std::span<const Fingerprint> blocks) {
  forget(extent.address + first * block_, blocks.size() * block_);
  absl::MutexLock lock(&mutex_);
  allocate();
  for (; !blocks.empty(); first += kPieceBlocks) {
    const auto piece_blocks = blocks.first(std::min<std::size_t>(kPieceBlocks, blocks.size()));
    blocks = blocks.subspan(piece_blocks.size());
    const std::uint64_t sequence = next_sequence_;
    next_sequence_ += piece_blocks.size();
    while (!pieces_.empty() && (pieces_.size() >= kMaxPieces ||
                                next_sequence_ - pieces_.front().sequence > capacity_)) {
      evict_oldest();
    }
    for (std::size_t i = 0; i < piece_blocks.size(); ++i) {
      const std::uint32_t at = slot(sequence + i);
      blocks_[at] = piece_blocks[i];
      if (!linked(piece_blocks[i])) continue;
      std::uint32_t& head = head_of(piece_blocks[i]);
      next_[at] = head;
      head = at + 1;
    }
    pieces_.push_back(
        {extent, first, sequence, static_cast<std::uint32_t>(piece_blocks.size()), false});
    by_key_[key(extent.address, first)] = sequence;
  }
}

void ContentCache::unlink(Piece& piece) {
  for (std::uint32_t i = 0; i < piece.count; ++i) {
    const std::uint32_t here = slot(piece.sequence + i);
    if (!linked(blocks_[here])) continue;
    for (std::uint32_t* at = &head_of(blocks_[here]); *at != 0; at = &next_[*at - 1]) {
      if (*at != here + 1) continue;
      *at = next_[here];
      break;
    }
    blocks_[here] = kNoFingerprint;
  }
}

void ContentCache::evict_oldest() {
  Piece& oldest = pieces_.front();
  if (!oldest.forgotten) {
    unlink(oldest);
    by_key_.erase(key(oldest.extent.address, oldest.first));
  }
  pieces_.pop_front();
}

void ContentCache::forget(std::uint64_t address, std::uint64_t content_length) {
  absl::MutexLock lock(&mutex_);
  for (std::uint64_t block = 0; block * block_ < content_length; block += kPieceBlocks) {
    const auto it = by_key_.find(key(address, block));
    if (it == by_key_.end()) continue;
    auto& piece = const_cast<Piece&>(piece_of(it->second));
    unlink(piece);
    piece.forgotten = true;
    by_key_.erase(it);
  }
}

const ContentCache::Piece& ContentCache::piece_of(std::uint64_t sequence) const {
  const auto after = std::upper_bound(
      pieces_.begin(), pieces_.end(), sequence,
      [](std::uint64_t wanted, const Piece& piece) { return wanted < piece.sequence; });
  return *(after - 1);
}

const ContentCache::Piece* ContentCache::piece_at(std::uint64_t address,
                                                  std::uint64_t block) const {
  const auto it = by_key_.find(key(address, block));
  if (it == by_key_.end()) return nullptr;
  const Piece& piece = piece_of(it->second);
  return piece.extent.address == address ? &piece : nullptr;
}

ContentCache::Places ContentCache::find(Fingerprint fingerprint) const {
  Places out;
  absl::MutexLock lock(&mutex_);
  if (heads_.empty() || !linked(fingerprint)) return out;
  for (std::uint32_t at = const_cast<ContentCache*>(this)->head_of(fingerprint); at != 0;
       at = next_[at - 1]) {
    if (blocks_[at - 1] != fingerprint) continue;
    // The slot's sequence is the latest that falls on it.
    const std::uint64_t back = slot(next_sequence_ - 1 - (at - 1));
    const std::uint64_t sequence = next_sequence_ - 1 - back;
    const Piece& piece = piece_of(sequence);
    out.push_back({piece.extent, piece.first + (sequence - piece.sequence)});
    if (out.size() == kMostPlaces) break;
  }
  return out;
}

Fingerprint ContentCache::at(std::uint64_t address, std::uint64_t block) const {
  absl::MutexLock lock(&mutex_);
  const Piece* piece = piece_at(address, block);
  if (piece == nullptr || block - piece->first >= piece->count) return kNoFingerprint;
  return blocks_[slot(piece->sequence + (block - piece->first))];
}

bool ContentCache::contains(std::uint64_t address, std::uint64_t block) const {
  absl::MutexLock lock(&mutex_);
  return piece_at(address, block) != nullptr;
}

ReadExtent ContentCache::extent(std::uint64_t address, std::uint64_t block) const {
  absl::MutexLock lock(&mutex_);
  const Piece* piece = piece_at(address, block);
  return piece == nullptr ? ReadExtent{} : piece->extent;
}

}  // namespace skep::index
