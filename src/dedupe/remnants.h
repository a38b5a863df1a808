// SPDX-License-Identifier: MIT
//
// Copies what of the victims is stored nowhere else to temporary files, and says where it lies
// then. Thread-compatible.
#pragma once

#include <absl/status/status.h>

#include <memory>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/pace.h"
#include "skep/dedupe/types.h"

namespace skep::dedupe {

class Remnants {
 public:
  // Copies are stored as `kind` says.
  Remnants(btrfs::Filesystem& fs, btrfs::ExtentKind kind, const Steps& steps)
      : fs_(fs), kind_(kind), steps_(steps), block_(fs.info().block_size) {}

  // Appends the copies of a plan to the file of whole blocks; returns where they begin in it. Both
  // files begin with a hole of one block: what lies in the first block of a short file may be
  // stored inline, in the file's metadata, and sharing from there makes the kernel write a copy
  // into the target, later.
  absl::StatusOr<std::uint64_t> append(const std::vector<Copy>& copies);
  // Appends one tail, in a block of its own; returns its number.
  absl::StatusOr<std::uint64_t> append_tail(const Copy& tail);
  void start_writeback();

  btrfs::TemporaryFile* blocks() { return blocks_.get(); }
  btrfs::TemporaryFile* tails() { return tails_.get(); }
  std::uint64_t tail_count() const { return tail_lengths_.size(); }
  // Cuts the file of tails so that it ends with tail `number`. In descending order only.
  absl::Status end_at_tail(std::uint64_t number);
  std::uint64_t tail_offset(std::uint64_t number) const { return (number + 1) * block_; }
  // The number of the block at an offset in the file of whole blocks, as in Layout::places.
  std::uint64_t block_number(std::uint64_t offset) const { return offset / block_ - 1; }

  struct Place {
    std::uint64_t address = 0;  // the extent's plus the offset in its content; 0: not known
    std::uint64_t extent_address = 0;
    bool compressed = false;
  };
  // Where each block of a temporary file lies, once a range of it was shared, and what all of them
  // take on disk: less than their length where they were compressed.
  struct Layout {
    std::vector<Place> places;
    std::uint64_t disk_bytes = 0;
  };
  Layout layout(btrfs::TemporaryFile& file, std::uint64_t blocks);

 private:
  absl::Status ensure(std::shared_ptr<btrfs::TemporaryFile>& file);

  btrfs::Filesystem& fs_;
  const btrfs::ExtentKind kind_;
  const Steps& steps_;
  const std::uint64_t block_;
  std::shared_ptr<btrfs::TemporaryFile> blocks_, tails_;
  std::uint64_t blocks_end_ = block_;
  std::vector<std::uint32_t> tail_lengths_;
};

}  // namespace skep::dedupe
