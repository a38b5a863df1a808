// SPDX-License-Identifier: MIT
//
// The first page of a table file: what it is about, and how it is read and written.
// man/skep-state.5 specifies it byte by byte. Pure functions but for one read.
#pragma once

#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "skep/btrfs/types.h"
#include "skep/index/table.h"

namespace skep::index {

inline constexpr std::uint32_t kTableVersion = 2;

struct TableHeader {
  char magic[8];
  std::uint32_t version;
  std::uint32_t page_bytes;
  btrfs::Uuid filesystem;
  std::uint32_t block_size;
  std::uint32_t fingerprint_kind;
  std::uint32_t csum_type;
  std::uint32_t level;
  std::uint64_t buckets;
  std::uint64_t created_seconds;  // since the epoch
  std::uint64_t former_buckets[Table::kMaxFormer];
  std::uint64_t checksum;  // XXH3 of all before

  std::uint64_t file_bytes() const { return (buckets + 1) * Table::kPageBytes; }
};
static_assert(Table::kMaxFormer == 6);
static_assert(offsetof(TableHeader, filesystem) == 16);
static_assert(offsetof(TableHeader, block_size) == 32);
static_assert(offsetof(TableHeader, buckets) == 48);
static_assert(offsetof(TableHeader, created_seconds) == 56);
static_assert(offsetof(TableHeader, former_buckets) == 64);
static_assert(offsetof(TableHeader, checksum) == 112);
static_assert(sizeof(TableHeader) == 120);
static_assert(sizeof(TableHeader) <= 512, "the level and the checksum lie in one sector");

std::uint64_t checksum_of(const TableHeader& header);

// Of a new and empty table, checksum included.
TableHeader new_header(const TableOptions& options, std::uint64_t created_seconds);

// Reads and validates the header of an open file. DATA_LOSS when it is damaged, INVALID_ARGUMENT
// when it is no table, UNIMPLEMENTED when it has another version; the message says what it is,
// without the file's name ("its header is damaged").
absl::StatusOr<TableHeader> read_header(int fd, const std::string& path);

}  // namespace skep::index
