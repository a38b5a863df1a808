// SPDX-License-Identifier: MIT
//
// Random filesystems on the in-memory twin, and the changes that users make to them. Everything
// follows from the seed. Beside the twin it keeps plain byte vectors: what each file must read as.
//
// What there is: several subvolumes, snapshots, reflinks, duplicates at block offsets, equal data
// cut into extents differently, tails of few and of many lengths, zeros, holes, dead space,
// preallocation, nodatasum, immutable, inline and compressed files.
//
// Thread-compatible: whoever steps from several threads locks.
#pragma once

#include <absl/status/status.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "skep/btrfs/memory_filesystem.h"

namespace skep::property {

using Bytes = std::vector<std::byte>;
inline constexpr std::uint64_t kBlock = 4096;

class Random {
 public:
  explicit Random(std::uint64_t seed) : random_(seed) {}
  std::uint64_t operator()() { return random_(); }
  // Uniform in [0, bound), for `bound` above 0.
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  bool percent(std::uint64_t chance) { return below(100) < chance; }

 private:
  std::mt19937_64 random_;
};

class RandomFilesystem {
 public:
  // `collisions`: some blocks differ although their checksums are equal.
  RandomFilesystem(std::uint64_t seed, bool collisions);

  btrfs::MemoryFilesystem& fs() { return fs_; }
  // Makes `files` files and some changes to them, and commits.
  void build(int files);
  // One change, as a user makes it: a write, a cut, a hole, a reflink, a new file, a snapshot, ...
  void step();
  // INTERNAL when a file does not read as it must, or the twin finds an invariant broken.
  absl::Status verify() const;

 private:
  using Blocks = std::vector<std::uint32_t>;  // contents by number

  static btrfs::MemoryOptions options(Random& random);
  std::uint32_t fresh_block() { return next_block_++; }
  std::uint64_t some_length();
  Blocks some_blocks();
  Bytes bytes_of(const Blocks& blocks);
  Bytes some_bytes();
  std::uint64_t some_root();
  bool any_file(btrfs::FileKey& key);

  void create();
  void write();
  void append();
  void reflink();
  void punch();
  void truncate();
  void fallocate();
  void remove();
  void snapshot();
  void put(btrfs::FileKey key, std::uint64_t at, const Bytes& bytes, std::uint8_t compression);

  Random random_;
  const bool collisions_;
  const std::uint64_t plain_percent_;  // of new files: neither compressed nor without checksums
  btrfs::MemoryFilesystem fs_;
  std::map<btrfs::FileKey, Bytes> shadow_;
  std::set<btrfs::FileKey> immutable_;
  std::vector<Blocks> sequences_;
  std::uint32_t next_block_ = 3;  // 0 are zeros, 1 and 2 come again and again
};

}  // namespace skep::property
