// SPDX-License-Identifier: MIT
//
// Fingerprints that say nothing: several pairs of blocks had one, and differed.
//
// By chance blocks have equal checksums of 32 bits now and then. On purpose, whoever may write can
// store any number of blocks that all differ under one crc32c: each would be planned, read and
// compared with another one, to no end. So the block that made a range differ is looked for, in
// what the compare has left in the page cache. Where both have one fingerprint still they are
// strangers; a block that was only written meanwhile has another one by now.
//
// From kEnough pairs on no search begins with such a block. It is shared still where a search that
// began beside it comes to it, so nobody can keep what others store from being shared, but single
// blocks of the contents that he aims at. Of 1 TiB (2^28 blocks) without any purpose no fingerprint
// gets there: that nine of them have one is expected 2^32 (1/16)^9 / 9! = 1e-7 times.
//
// So do lone blocks that the plan stage reads, where strangers are frequent by chance. With
// fingerprints of 64 bits nothing is looked for. What cannot be read tells nothing: there are no
// errors. Thread-safe.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/container/flat_hash_map.h>
#include <absl/synchronization/mutex.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/counters.h"
#include "skep/index/fingerprint.h"

namespace skep::dedupe {

class Strangers {
 public:
  static constexpr std::uint32_t kEnough = 8;

  // All borrowed, for its life. `block` in bytes.
  Strangers(const index::Fingerprinter& fingerprinter, std::uint64_t block, Counters& counters)
      : fingerprinter_(fingerprinter), block_(block), counters_(counters) {}

  struct Place {
    btrfs::File& file;
    std::uint64_t offset;
  };
  // Two ranges of `length` bytes were found to differ. Reads at most 128 KiB of each.
  void look_into(Place one, Place other, std::uint64_t length);
  // The same of two blocks, as they have been read.
  void met(std::span<const std::byte> one, std::span<const std::byte> other);
  // Nothing is to be looked for by this fingerprint alone.
  bool frequent(index::Fingerprint fingerprint) const {
    return any_frequent_.load(std::memory_order_relaxed) && is_frequent(fingerprint);
  }

 private:
  bool is_frequent(index::Fingerprint fingerprint) const ABSL_LOCKS_EXCLUDED(mutex_);
  void count(index::Fingerprint fingerprint) ABSL_LOCKS_EXCLUDED(mutex_);

  const index::Fingerprinter& fingerprinter_;
  const std::uint64_t block_;
  Counters& counters_;
  std::atomic<bool> any_frequent_ = false;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<index::Fingerprint, std::uint32_t> pairs_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace skep::dedupe
