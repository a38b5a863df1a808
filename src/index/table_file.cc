// SPDX-License-Identifier: MIT
#include "skep/index/table_file.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "skep/btrfs/status.h"
#include "table_map.h"
#include "table_places.h"
#include "table_resize.h"

namespace skep::index {
namespace {

std::uint32_t cells_in_use(const Bucket& bucket) {
  return static_cast<std::uint32_t>(kCells) -
         static_cast<std::uint32_t>(std::count(bucket.cells, bucket.cells + kCells, Cell{0}));
}

// Buckets by how many cells of them are in use; a table may have too many to sort.
struct Fills {
  std::uint64_t buckets[kCells + 1] = {};
  std::uint64_t cells = 0;

  explicit Fills(const TableMap& table) {
    for (const Bucket& bucket : table.buckets()) {
      const std::uint32_t fill = cells_in_use(bucket);
      ++buckets[fill];
      cells += fill;
    }
  }
  // The fill of the n-th bucket when they stand in order.
  std::uint32_t nth(std::uint64_t n) const {
    std::uint32_t fill = 0;
    for (; fill < kCells && n >= buckets[fill]; ++fill) n -= buckets[fill];
    return fill;
  }
};

Table::Usage usage_of(const TableMap& table) {
  return {Fills(table).cells, table.buckets().size() * kCells, table.header().level};
}

}  // namespace

absl::StatusOr<TableInfo> inspect_table(const std::string& path) {
  auto table = open_table_file(path, TableAccess::kRead);
  if (!table.ok()) return table.status();
  struct stat st {};
  if (fstat(table->fd(), &st) != 0) return errno_status(errno, "fstat", path);
  const TableHeader& header = table->header();
  TableInfo out;
  out.size_bytes = header.file_bytes();
  out.format_version = header.version;
  out.filesystem = header.filesystem;
  out.block_size = header.block_size;
  out.kind = static_cast<FingerprintKind>(header.fingerprint_kind);
  out.csum_type = static_cast<btrfs::CsumType>(header.csum_type);
  out.created_seconds = header.created_seconds;
  out.written_seconds = static_cast<std::uint64_t>(st.st_mtim.tv_sec);
  out.buckets = header.buckets;
  const Fills fills(*table);
  out.usage = {fills.cells, header.buckets * kCells, header.level};
  out.least_fill = fills.nth(0);
  out.median_fill = fills.nth(header.buckets / 2);
  out.most_fill = fills.nth(header.buckets - 1);
  const Places places(header.buckets, header.former_buckets);
  for (const std::uint64_t buckets : places.former()) {
    out.former_sizes.push_back((buckets + 1) * Table::kPageBytes);
  }
  return out;
}

absl::StatusOr<TableResize> resize_table(const std::string& path, std::uint64_t bytes,
                                         const btrfs::Uuid* filesystem) {
  if (bytes < Table::kMinBytes || bytes > Table::kMaxBytes) {
    return absl::OutOfRangeError(fmt::format("table size {} is not between 8K and 1T", bytes));
  }
  auto old = open_table_file(path, TableAccess::kWrite);
  if (!old.ok()) return old.status();
  if (filesystem != nullptr && old->header().filesystem != *filesystem) {
    return absl::FailedPreconditionError(fmt::format("{}: belongs to filesystem {}", path,
                                                     btrfs::to_string(old->header().filesystem)));
  }
  const std::uint64_t buckets = bytes / Table::kPageBytes - 1;
  TableResize out;
  out.from_bytes = out.to_bytes = old->header().file_bytes();
  out.before = out.after = usage_of(*old);
  if (buckets == old->header().buckets) return out;
  auto fresh = resized(path, *old, buckets);
  if (!fresh.ok()) return fresh.status();
  out.to_bytes = fresh->header().file_bytes();
  out.after = usage_of(*fresh);
  return out;
}

}  // namespace skep::index
