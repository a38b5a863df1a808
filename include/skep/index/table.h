// SPDX-License-Identifier: MIT
//
// The fingerprint table: a file of fixed size, mapped into memory, from fingerprints to addresses.
// man/skep-state.5 specifies it byte by byte.
//
// A cell has 8 bytes: 42 bits of block address (16 PiB at 4 KiB a block) and a tag of 22 bits of
// the fingerprint. A bucket is a page of 512 cells, 64 cache lines of 8. 64 MiB hold 8.4 million
// cells: all blocks of 28 GiB at 7/8 full, or, since one entry a megabyte is enough where data has
// locality (see LocalityCache), 7 TiB. When the table fills, the sampling level rises: only
// fingerprints whose `level` low bits are zero stay, and half of the cells go. Both copies of a
// block make the same choice, so what is lost is density, not the meeting of duplicates.
//
// Cells are hints. A tag meets a stranger in its bucket with probability 512 / 2^22 a look-up, and
// extents come and go: whoever finds an address checks the checksum there, and erases what misled.
//
// A table can be resized and keeps what fits, see table_file.h. The header lists the sizes that it
// had, since the cells from then are found through them.
//
// Thread-safe. An open table holds an exclusive flock(2) on its file. Crash: any mix of old and new
// pages is a valid table; the header never changes meaning while in use.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/container/inlined_vector.h>
#include <absl/status/statusor.h>
#include <absl/synchronization/mutex.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "skep/btrfs/types.h"
#include "skep/index/fingerprint.h"

namespace skep::index {

struct TableOptions {
  std::uint64_t size_bytes = 0;  // of the file, header included; rounded down to pages
  bool any_size = false;         // a table that is there is kept whatever its size
  btrfs::Uuid filesystem{};
  std::uint32_t block_size = 4096;
  btrfs::CsumType csum_type = btrfs::CsumType::kCrc32c;
  FingerprintKind kind = FingerprintKind::kCsum;
};

class Places;
class TableMap;
struct Bucket;

class Table {
 public:
  static constexpr std::uint64_t kPageBytes = 4096;
  static constexpr std::uint64_t kMinBytes = 2 * kPageBytes;  // the header and one bucket
  static constexpr std::uint64_t kMaxBytes = 1ULL << 40;
  static constexpr std::uint32_t kMaxLevel = 16;
  // Of one fingerprint no more addresses than this: the ten-thousandth copy of a block helps
  // nobody, and would fill its bucket.
  static constexpr std::size_t kMaxSame = 8;
  // Former sizes that are remembered. Each costs look-ups a little; who resizes more often than
  // this loses hints from before.
  static constexpr std::size_t kMaxFormer = 6;
  using Addresses = absl::InlinedVector<std::uint64_t, kMaxSame>;

  // Opens `path`, or creates it. A table of another size is resized. A table of another
  // filesystem, block size, format, kind of fingerprint or of checksum, or a damaged one, is set
  // aside as `path`.old and a new one is made: reopened() is then false. UNAVAILABLE when another
  // process has it open, RESOURCE_EXHAUSTED when the disk has no room.
  static absl::StatusOr<std::unique_ptr<Table>> open(const std::string& path,
                                                     const TableOptions& options);
  // A table whose file stays as it is: what is changed is lost with the object, and takes memory.
  // For whom the file fits is not looked at. Locks it shared meanwhile; errors as in table_file.h.
  static absl::StatusOr<std::unique_ptr<Table>> open_copy(const std::string& path);
  // A table without a file, empty, gone with the object: for who only wants to know.
  static absl::StatusOr<std::unique_ptr<Table>> in_memory(const TableOptions& options);
  ~Table();
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  // True when the file was there and usable; false when this table began empty.
  bool reopened() const { return reopened_; }
  // What was wrong with the file that was set aside; empty when nothing was.
  const std::string& set_aside_reason() const { return set_aside_reason_; }
  // The size of the file before open() resized it; 0 when it did not.
  std::uint64_t resized_from_bytes() const { return resized_from_bytes_; }

  bool sampled(Fingerprint fingerprint) const;
  // Addresses in bytes, likeliest first.
  Addresses find(Fingerprint fingerprint) const;
  // Ignores fingerprints that are not sampled. Raises the level when the table is 7/8 full.
  void insert(Fingerprint fingerprint, std::uint64_t address);
  void erase(Fingerprint fingerprint, std::uint64_t address);
  // Moves the cell before its equals: what proves useful is found first and evicted last.
  void promote(Fingerprint fingerprint, std::uint64_t address);

  struct Usage {
    std::uint64_t cells = 0;
    std::uint64_t capacity = 0;
    std::uint32_t level = 0;
  };
  Usage usage() const;
  // Asks the kernel to write dirty pages. Also done on destruction.
  absl::Status save();

 private:
  Table(std::string path, std::uint32_t block_size);
  absl::Status open_existing(const TableOptions& options);
  absl::Status create(const TableOptions& options);
  void take(TableMap map) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Bucket& bucket_of(Fingerprint fingerprint) const;
  void raise_level() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string path_;
  const std::uint32_t block_;
  bool reopened_ = false;
  std::string set_aside_reason_;
  std::uint64_t resized_from_bytes_ = 0;
  // All three are set by open() and stay.
  std::unique_ptr<TableMap> map_;
  std::unique_ptr<Places> places_;
  std::span<Bucket> buckets_;
  mutable absl::Mutex mutex_;
  std::uint64_t cells_ ABSL_GUARDED_BY(mutex_) = 0;
  // Changed under the mutex only, and only upwards. Who reads it without leaves out what would be
  // left out with it: at level 3 that is seven in eight look-ups, each of which would lock.
  std::atomic<std::uint32_t> level_ = 0;
};

}  // namespace skep::index
