// SPDX-License-Identifier: MIT
//
// Extents that got checksums after they were looked at. An extent keeps the generation in which it
// was allocated, whenever it is written: preallocated space has no checksums until then, and what a
// balance moves is allocated in one transaction and copied in another. A walk over new extents
// passes over both (seen on Linux 6.18). The csum tree tells: who walks over what of it was written
// since, finds checksums that the table has not, of extents that are older.
//
// What the table has dropped comes along, and is looked at for nothing; so that this stays rare, a
// fingerprint that the table has of as many places as it takes is not missed. Of a sampled table,
// what it does not sample is not seen, and zeros never are.
#pragma once

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/crawl.h"
#include "skep/dedupe/filter_options.h"
#include "skep/dedupe/pace.h"
#include "skep/dedupe/types.h"
#include "skep/index/table.h"

namespace skep::dedupe {

// Thread-compatible. All borrowed.
class LateCsums {
 public:
  LateCsums(btrfs::Filesystem& fs, const index::Fingerprinter& fingerprinter, index::Table& table,
            SizeLimits lengths, Pace* pace, const std::function<bool()>& stop)
      : fs_(fs),
        fingerprinter_(fingerprinter),
        table_(table),
        lengths_(lengths),
        stop_(stop),
        steps_(pace, stop),
        block_(fs.info().block_size) {}

  // Puts such extents of generations up to `after` into the table, with FingerprintKind::kCsum, and
  // calls `look` with their addresses, ascending, limits::kLateExtents or a few more at a time.
  // CANCELLED when `stop` said so; with any error of `look` they are taken out again, and found
  // next time.
  using Look = absl::FunctionRef<absl::Status(const std::vector<std::uint64_t>&)>;
  absl::Status run(std::uint64_t after, Look look);

 private:
  struct Range {
    std::uint64_t first = 0, end = 0;
  };
  bool missing(index::Fingerprint fingerprint, std::uint64_t address) const;
  absl::StatusOr<std::uint64_t> collect(std::uint64_t from, std::uint64_t after);
  absl::StatusOr<std::vector<btrfs::Extent>> older(std::uint64_t after) const;
  absl::Status look_at(std::vector<btrfs::Extent> extents, Look look);

  btrfs::Filesystem& fs_;
  const index::Fingerprinter& fingerprinter_;
  index::Table& table_;
  const SizeLimits lengths_;
  const std::function<bool()>& stop_;
  const Steps steps_;
  const std::uint64_t block_;
  std::vector<Range> ranges_;  // ascending, of blocks that the table misses
};

}  // namespace skep::dedupe
