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

absl::Status make_durable(const TableMap& map, const std::string& path) {
  // The map is part of the file's page cache: fsync writes it.
  if (fsync(map.fd()) != 0) return errno_status(errno, "fsync", path);
  return absl::OkStatus();
}

absl::Status replace(const std::string& fresh, const std::string& path) {
  if (std::rename(fresh.c_str(), path.c_str()) != 0) return errno_status(errno, "rename", path);
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const btrfs::Descriptor fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return errno_status(errno, "open", folder);
  if (fsync(fd.get()) != 0) return errno_status(errno, "fsync", folder);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TableMap> resized(const std::string& path, const TableMap& old,
                                 std::uint64_t buckets) {
  const Census census = take_census(old);
  TableHeader header = header_for(old, buckets, census[0] == 0);
  const std::string fresh = path + ".new";
  if (unlink(fresh.c_str()) != 0 && errno != ENOENT) return errno_status(errno, "unlink", fresh);
  auto made = TableMap::create(fresh, header);
  if (!made.ok()) return made;
  header.level = first_level(census, old, buckets);
  while (move_cells(old, header.level, made->buckets()) > census[header.level] / kTolerated &&
         header.level < Table::kMaxLevel) {
    ++header.level;
    std::memset(made->buckets().data(), 0, made->buckets().size_bytes());
  }
  header.checksum = checksum_of(header);
  made->header() = header;
  auto status = make_durable(*made, fresh);
  if (!status.ok()) unlink(fresh.c_str());
  if (status.ok()) status = replace(fresh, path);
  if (!status.ok()) return status;
  return made;
}

}  // namespace skep::index
