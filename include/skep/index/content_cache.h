// SPDX-License-Identifier: MIT
//
// Fingerprints of extents that were read because their checksums do not serve: compressed ones,
// those without checksums, all with FingerprintKind::kData. By place and by content, like the
// locality cache, but a miss costs a read of data, not a search of metadata.
//
// A piece is up to 32 blocks (128 KiB) of an extent's content: a compressed extent is one piece.
// Pieces are evicted first in, first out. Memory, once something was inserted: 12 bytes a block for
// 524,288 blocks (2 GiB of content), 2 MiB of chain heads, and about 130 bytes for each of at most
// 32,768 pieces: 12 MiB.
//
// Thread-safe. Invariant: every block of a piece that has a fingerprint and is not zeros is linked
// once in the chain of its fingerprint.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/container/flat_hash_map.h>
#include <absl/container/inlined_vector.h>
#include <absl/synchronization/mutex.h>

#include <cstdint>
#include <deque>
#include <span>

#include "skep/btrfs/types.h"
#include "skep/index/fingerprint.h"
#include "skep/index/zeroed_array.h"

namespace skep::index {

// An extent that was read: what a match has to know of it. Lengths in bytes.
struct ReadExtent {
  std::uint64_t address = 0;
  std::uint64_t length = 0;          // on disk
  std::uint64_t content_length = 0;  // unpacked
  std::uint64_t generation = 0;
  std::uint64_t refs = 0;
  btrfs::ExtentKind kind;
};

class ContentCache {
 public:
  static constexpr std::uint32_t kPieceBlocks = 32;
  static constexpr std::uint32_t kDefaultBlocks = 1 << 19;
  static constexpr std::size_t kMaxPieces = 32'768;

  // `capacity_blocks`: a power of two, at least kPieceBlocks.
  ContentCache(const Fingerprinter& fingerprinter, std::uint32_t block_size,
               std::uint32_t capacity_blocks = kDefaultBlocks);

  // The content of `extent` from block `first` on; `first` is a multiple of kPieceBlocks, and
  // `blocks` ends at one or at the extent's end. Replaces what was known.
  void insert(const ReadExtent& extent, std::uint64_t first, std::span<const Fingerprint> blocks)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // The extent is gone, or about to go.
  void forget(std::uint64_t address, std::uint64_t content_length) ABSL_LOCKS_EXCLUDED(mutex_);

  struct Place {
    ReadExtent extent;
    std::uint64_t block = 0;  // of the extent's content
  };
  static constexpr std::size_t kMostPlaces = 12;
  using Places = absl::InlinedVector<Place, 2>;
  // Where this content is, newest first, at most kMostPlaces.
  Places find(Fingerprint fingerprint) const ABSL_LOCKS_EXCLUDED(mutex_);
  // Of one block of an extent's content; kNoFingerprint where it is not known.
  Fingerprint at(std::uint64_t address, std::uint64_t block) const ABSL_LOCKS_EXCLUDED(mutex_);
  // True when the piece with this block is here.
  bool contains(std::uint64_t address, std::uint64_t block) const ABSL_LOCKS_EXCLUDED(mutex_);
  // The extent at `address`, if its piece with this block is here; a zero address otherwise.
  ReadExtent extent(std::uint64_t address, std::uint64_t block) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Piece {
    ReadExtent extent;
    std::uint64_t first = 0;     // block of the extent's content
    std::uint64_t sequence = 0;  // of its first block, ever growing; in the ring modulo its size
    std::uint32_t count = 0;
    bool forgotten = false;
  };
  // Pieces of different extents never have the same key: a compressed extent has one piece, and
  // what is not compressed lies on disk where its key says.
  std::uint64_t key(std::uint64_t address, std::uint64_t block) const {
    return address + block / kPieceBlocks * kPieceBlocks * block_;
  }
  std::uint32_t slot(std::uint64_t sequence) const {
    return static_cast<std::uint32_t>(sequence) & (capacity_ - 1);
  }
  std::uint32_t& head_of(Fingerprint f) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return heads_[static_cast<std::uint32_t>(f >> 32) & (capacity_ - 1)];
  }
  bool linked(Fingerprint f) const { return f != kNoFingerprint && !fingerprinter_.is_zero(f); }
  void allocate() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void unlink(Piece& piece) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void evict_oldest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  const Piece* piece_at(std::uint64_t address, std::uint64_t block) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  const Piece& piece_of(std::uint64_t sequence) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Fingerprinter& fingerprinter_;
  const std::uint64_t block_;
  const std::uint32_t capacity_;
  mutable absl::Mutex mutex_;
  ZeroedArray<Fingerprint> blocks_ ABSL_GUARDED_BY(mutex_);   // a ring
  ZeroedArray<std::uint32_t> next_ ABSL_GUARDED_BY(mutex_);   // chain of equal hash: slot + 1
  ZeroedArray<std::uint32_t> heads_ ABSL_GUARDED_BY(mutex_);  // slot + 1
  std::deque<Piece> pieces_ ABSL_GUARDED_BY(mutex_);          // oldest first
  absl::flat_hash_map<std::uint64_t, std::uint64_t> by_key_ ABSL_GUARDED_BY(mutex_);  // sequence
  std::uint64_t next_sequence_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace skep::index
