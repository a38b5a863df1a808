// SPDX-License-Identifier: MIT
//
// Looking after a table file that no run has open: what it is, whether it is sound, another size.
// man/skep-state.5 specifies the file. Needs the file alone, not its filesystem.
//
// Errors, of all of them: NOT_FOUND there is no file; UNAVAILABLE a run has it open;
// INVALID_ARGUMENT it is no table; UNIMPLEMENTED it has another format version; DATA_LOSS its
// header is damaged. Messages name the file. Thread-safe: they share nothing, and lock the file.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "skep/btrfs/types.h"
#include "skep/index/table.h"

namespace skep::index {

struct TableInfo {
  std::uint64_t size_bytes = 0;
  std::uint32_t format_version = 0;
  btrfs::Uuid filesystem{};
  std::uint32_t block_size = 0;
  FingerprintKind kind = FingerprintKind::kCsum;
  btrfs::CsumType csum_type = btrfs::CsumType::kCrc32c;
  std::uint64_t created_seconds = 0, written_seconds = 0;  // since the epoch
  Table::Usage usage;
  std::uint64_t buckets = 0;
  std::uint32_t least_fill = 0, median_fill = 0, most_fill = 0;  // cells in use of a bucket
  std::vector<std::uint64_t> former_sizes;  // of the file in bytes, oldest first
};

// Reads the whole file.
absl::StatusOr<TableInfo> inspect_table(const std::string& path);

struct TableCheck {
  btrfs::Uuid filesystem{};
  std::uint64_t buckets = 0;
  std::uint64_t damaged_buckets = 0;
  // Damaged cells by what is wrong with them; one can count more than once.
  std::uint64_t behind_gap = 0;   // behind a free one in their line
  std::uint64_t unreachable = 0;  // a search from their home line ends before them
  std::uint64_t unsampled = 0;    // their fingerprints are not looked up at the table's level
  std::uint64_t no_address = 0;
};

// Reads the whole file and looks at each cell.
absl::StatusOr<TableCheck> check_table(const std::string& path);

struct TableResize {
  std::uint64_t from_bytes = 0, to_bytes = 0;
  Table::Usage before, after;
};

// Moves the cells to a new file of `bytes`, rounded down to pages, which then takes the old one's
// place. Where it shrinks below what is in use, the sampling level rises; where it grows, the level
// falls to 0. A crash leaves the old or the new one, whole. When `filesystem` is given, a table of
// another one is refused: FAILED_PRECONDITION. Further errors: OUT_OF_RANGE for a size that is not
// between Table::kMinBytes and kMaxBytes, RESOURCE_EXHAUSTED when the disk has no room; the old
// table is left as it was.
absl::StatusOr<TableResize> resize_table(const std::string& path, std::uint64_t bytes,
                                         const btrfs::Uuid* filesystem = nullptr);

}  // namespace skep::index
