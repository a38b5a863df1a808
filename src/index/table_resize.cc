// SPDX-License-Identifier: MIT
#include "table_resize.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "skep/btrfs/status.h"
#include "skep/index/table_file.h"
#include "table_places.h"

namespace skep::index {
namespace {

// Raising the level loses half of the cells; where fewer than one in 256 find their bucket full,
// losing those is better. A bucket at 7/8 is full by chance once in 700 times (three sigma).
constexpr std::uint64_t kTolerated = 256;

// How many cells there are at each level: the cells that are sampled at it and, from index 0, at
// every level below.
using Census = std::array<std::uint64_t, Table::kMaxLevel + 1>;

bool usable(Cell cell, std::uint32_t level) {
  return (cell & kAddressMask) != 0 && sampled_at(tag_of_cell(cell), level);
}

Census take_census(const TableMap& table) {
  Census out{};
  for (const Bucket& bucket : table.buckets()) {
    for (const Cell cell : bucket.cells) {
      if (!usable(cell, table.header().level)) continue;
      const auto zeros = static_cast<std::uint32_t>(std::countr_zero(tag_of_cell(cell)));
      ++out[std::min(zeros, Table::kMaxLevel)];
    }
  }
  for (std::size_t level = Table::kMaxLevel; level > 0; --level) out[level - 1] += out[level];
  return out;
}

// The level to begin with. Shrinking never lowers it: what was not kept is not there.
std::uint32_t first_level(const Census& census, const TableMap& old, std::uint64_t buckets) {
  std::uint32_t level = buckets > old.header().buckets ? 0 : old.header().level;
  while (level < Table::kMaxLevel && census[level] > most_cells(buckets)) ++level;
  return level;
}

// Returns how many cells found their bucket full.
std::uint64_t move_cells(const TableMap& old, std::uint32_t level, std::span<Bucket> to) {
  const std::uint64_t from_count = old.header().buckets;
  std::uint64_t lost = 0;
  for (std::uint64_t b = 0; b < from_count; ++b) {
    for (const Cell cell : old.buckets()[b].cells) {
      if (!usable(cell, std::max(level, old.header().level))) continue;
      const std::uint64_t tag = tag_of_cell(cell);
      Cell* free = to[moved_bucket(b, from_count, to.size(), tag)].free_cell(tag);
      if (free == nullptr) {
        ++lost;
      } else {
        *free = cell;
      }
    }
  }
  return lost;
}

TableHeader header_for(const TableMap& old, std::uint64_t buckets, bool empty) {
  TableHeader header = old.header();
  const Places places(header.buckets, header.former_buckets);
  std::fill(std::begin(header.former_buckets), std::end(header.former_buckets), 0);
  if (!empty) {
    const auto former = places.resized(buckets).former();
    std::copy(former.begin(), former.end(), header.former_buckets);
  }
  header.buckets = buckets;
  return header;
}

}  // namespace

absl::StatusOr<TableMap> resized(const std::string& path, const TableMap& old,
                                 std::uint64_t buckets) {
  const Census census = take_census(old);
  TableHeader header = header_for(old, buckets, census[0] == 0);
  auto made = TableMap::create_beside(path, header);
  if (!made.ok()) return made;
  header.level = first_level(census, old, buckets);
  while (move_cells(old, header.level, made->buckets()) > census[header.level] / kTolerated &&
         header.level < Table::kMaxLevel) {
    ++header.level;
    std::memset(made->buckets().data(), 0, made->buckets().size_bytes());
  }
  header.checksum = checksum_of(header);
  made->header() = header;
  if (auto status = made->put_in_place(path, 0); !status.ok()) return status;
  return made;
}

}  // namespace skep::index
