// SPDX-License-Identifier: MIT
//
// Fingerprints of the neighbourhood of recent hits, by address and by content.
//
// A window is an aligned stretch of addresses (2048 blocks, 8 MiB at 4 KiB a block). Loading one
// reads its part of the csum tree and the extent items that overlap it: two or three searches,
// 46 us with large extents, 241 us with 4 KiB ones (bench, on the twin). Windows are evicted least
// recently used first. Memory: a window takes 2048 * (8 + 4) bytes and 24 bytes for each extent in
// it, 24 to 72 KiB; there are as many as fit 3.5 MiB, at most 160 (1.25 GiB of addresses), and
// their index takes 1 MiB. More windows make up for a small table: on 1390 MiB, with a table of 16
// KiB, 64 windows led to 94 % of what a full table frees, 160 to 96.6 %.
//
// Thread-compatible: the match stage owns it. Invariant: every block of a loaded window whose
// fingerprint is not kNoFingerprint is linked once in the chain of its fingerprint.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/functional/function_ref.h>
#include <absl/status/status.h>

#include <cstdint>
#include <span>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/index/fingerprint.h"
#include "skep/index/zeroed_array.h"

namespace skep::index {

class LocalityCache {
 public:
  static constexpr std::uint32_t kWindowBlocks = 2048;
  static constexpr std::uint32_t kDefaultWindows = 160;
  static constexpr std::size_t kMostBytes = 7 << 19;

  LocalityCache(btrfs::Filesystem& fs, const Fingerprinter& fingerprinter,
                std::uint32_t windows = kDefaultWindows);

  // Addresses of cached blocks with this fingerprint, newest window first; false from `visit` ends
  // the search.
  void find(Fingerprint fingerprint, absl::FunctionRef<bool(std::uint64_t)> visit) const;

  // Of the block at `address`; loads its window. kNoFingerprint where there is none, also after an
  // error of the kernel (counted in errors()).
  Fingerprint at(std::uint64_t address);
  // The same, but a window that does not know the address is read anew when extents may have come.
  Fingerprint fresh_at(std::uint64_t address);
  // What a match has to know of an extent; its references are not kept: they are most of its size.
  struct CachedExtent {
    std::uint64_t address = 0, generation = 0;
    std::uint32_t length = 0;  // bytes; no data extent is longer than btrfs::kMaxExtentLength
    std::uint32_t refs = 0;    // at most 2^32 - 1
    std::uint64_t end() const { return address + length; }
  };
  // The extent that holds `address`, or null. Loads the window. Valid until the next call.
  const CachedExtent* extent_at(std::uint64_t address);

  // True when asking for `address` will not need the kernel.
  bool loaded(std::uint64_t address) const {
    return by_base_.contains(address / window_bytes() * window_bytes());
  }

  // Blocks of an extent that is about to go: found no more.
  void forget(std::uint64_t address, std::uint64_t length);
  // Windows loaded before this call are read anew when fresh_at() misses in them.
  void expect_changes() { ++epoch_; }

  std::uint64_t windows_loaded() const { return windows_loaded_; }
  std::uint64_t errors() const { return errors_; }

 private:
  struct Window {
    std::uint64_t base = 0;  // address of the first block
    std::uint64_t epoch = 0;
    std::uint64_t used = 0;  // tick of last use
    bool loaded = false;
    std::size_t bytes = 0;  // that its vectors take
    std::vector<Fingerprint> blocks;
    std::vector<std::uint32_t> next;  // chain of equal hash: entry number + 1, 0 ends it
    std::vector<CachedExtent> extents;
  };
  std::uint64_t window_bytes() const { return std::uint64_t{kWindowBlocks} * block_; }
  Window& window_for(std::uint64_t address);
  Window& fresh_window_for(std::uint64_t address);
  Window& free_window();
  void load(Window& window);
  void load_extents(Window& window);
  void link(std::uint32_t entry);
  void unlink(std::uint32_t entry);
  void clear(Window& window);
  std::uint32_t head_of(Fingerprint f) const {
    return static_cast<std::uint32_t>(f >> 32) & (static_cast<std::uint32_t>(heads_.size()) - 1);
  }

  btrfs::Filesystem& fs_;
  const Fingerprinter& fingerprinter_;
  const std::uint64_t block_;
  std::vector<Window> windows_;
  ZeroedArray<std::uint32_t> heads_;  // entry number + 1
  absl::flat_hash_map<std::uint64_t, std::uint32_t> by_base_;
  std::uint32_t begun_ = 0;  // windows in use, from the front
  std::size_t bytes_ = 0;    // that they take
  std::uint32_t last_ = 0;   // the window used last: most calls stay in it
  std::uint64_t tick_ = 0, epoch_ = 1, windows_loaded_ = 0, errors_ = 0;
};

}  // namespace skep::index
