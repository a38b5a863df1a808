// SPDX-License-Identifier: MIT
#include "skep/index/table.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <ctime>
#include <utility>

#include "skep/btrfs/status.h"
#include "table_bucket.h"
#include "table_header.h"
#include "table_map.h"
#include "table_places.h"
#include "table_resize.h"

namespace skep::index {
namespace {

// Why a sound table cannot serve; empty when it can.
std::string misfit(const TableHeader& header, const TableOptions& options) {
  if (header.filesystem != options.filesystem) {
    return "it belongs to filesystem " + btrfs::to_string(header.filesystem);
  }
  if (header.block_size != options.block_size) {
    return fmt::format("it is for blocks of {} bytes", header.block_size);
  }
  if (header.fingerprint_kind != static_cast<std::uint32_t>(options.kind)) {
    return "it holds fingerprints of another kind";
  }
  if (header.csum_type != static_cast<std::uint32_t>(options.csum_type)) {
    return "it holds fingerprints of another kind of checksum";
  }
  return "";
}

bool to_be_set_aside(const absl::Status& header_status) {
  return absl::IsDataLoss(header_status) || absl::IsUnimplemented(header_status) ||
         (absl::IsInvalidArgument(header_status) && errno_of(header_status) == 0);
}

absl::Status check_size(const TableOptions& options) {
  if (options.size_bytes >= Table::kMinBytes && options.size_bytes <= Table::kMaxBytes) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      fmt::format("table size {} is not between 8K and 1T", options.size_bytes));
}

std::uint64_t cells_in(std::span<const Bucket> buckets) {
  std::uint64_t free = 0;
  for (const Bucket& bucket : buckets) {
    free += static_cast<std::uint64_t>(std::count(bucket.cells, bucket.cells + kCells, Cell{0}));
  }
  return buckets.size() * kCells - free;
}

}  // namespace

bool Table::sampled(Fingerprint fingerprint) const { return sampled_at(fingerprint, level_); }

Table::Addresses Table::find(Fingerprint fingerprint) const {
  Addresses out;
  if (!sampled(fingerprint)) return out;
  absl::MutexLock lock(&mutex_);
  for (const std::uint64_t place : places_->of(fingerprint)) {
    buckets_[place].find(tag_of(fingerprint), [&](Cell cell) {
      out.push_back((cell & kAddressMask) * block_);
      return out.size() < kMaxSame;
    });
    if (out.size() >= kMaxSame) break;
  }
  return out;
}

void Table::insert(Fingerprint fingerprint, std::uint64_t address) {
  const std::uint64_t block = address / block_;
  if (fingerprint == kNoFingerprint || block == 0 || block > kAddressMask) return;
  if (!sampled(fingerprint)) return;
  absl::MutexLock lock(&mutex_);
  if (!sampled(fingerprint)) return;  // by now
  const Cell cell = make_cell(fingerprint, block);
  const auto places = places_->of(fingerprint);
  for (std::size_t i = 1; i < places.size(); ++i) {
    if (buckets_[places[i]].find_cell(cell) != nullptr) return;
  }
  Bucket& bucket = buckets_[places.front()];
  std::size_t same = 0;
  Cell* last_same = nullptr;
  bucket.find(tag_of(fingerprint), [&](Cell& other) {
    ++same;
    last_same = &other;
    return other != cell;
  });
  if (last_same != nullptr && *last_same == cell) return;
  Cell* free = same < kMaxSame ? bucket.free_cell(tag_of(fingerprint)) : last_same;
  if (free == nullptr) {
    // The bucket is full: the last cell of the home line goes, which served least lately.
    free = &bucket.line(line_of(tag_of(fingerprint))).back();
  }
  if (*free == 0) ++cells_;
  *free = cell;
  if (cells_ > most_cells(buckets_.size()) && level_ < kMaxLevel) raise_level();
}

void Table::erase(Fingerprint fingerprint, std::uint64_t address) {
  if (!sampled(fingerprint)) return;
  absl::MutexLock lock(&mutex_);
  const Cell cell = make_cell(fingerprint, address / block_);
  for (const std::uint64_t place : places_->of(fingerprint)) {
    Cell* found = buckets_[place].find_cell(cell);
    if (found == nullptr) continue;
    buckets_[place].remove(*found);
    --cells_;
    return;
  }
}

void Table::promote(Fingerprint fingerprint, std::uint64_t address) {
  absl::MutexLock lock(&mutex_);
  const Cell cell = make_cell(fingerprint, address / block_);
  Cell* first = nullptr;
  for (const std::uint64_t place : places_->of(fingerprint)) {
    bool done = false;
    buckets_[place].find(tag_of(fingerprint), [&](Cell& at) {
      if (first == nullptr) first = &at;
      if (at == cell) std::swap(*first, at);
      done = at == cell || *first == cell;
      return !done;
    });
    if (done) return;
  }
}

void Table::raise_level() {
  ++level_;
  cells_ = 0;
  for (Bucket& bucket : buckets_) {
    const Bucket old = bucket;
    bucket = {};
    for (const Cell cell : old.cells) {
      if (cell == 0 || !sampled_at(tag_of_cell(cell), level_)) continue;
      *bucket.free_cell(tag_of_cell(cell)) = cell;
      ++cells_;
    }
  }
  TableHeader& header = map_->header();
  header.level = level_;
  header.checksum = checksum_of(header);
}

Table::Usage Table::usage() const {
  absl::MutexLock lock(&mutex_);
  return {cells_, buckets_.size() * kCells, level_};
}

Table::Table(std::string path, std::uint32_t block_size)
    : path_(std::move(path)), block_(block_size) {}

void Table::take(TableMap map) {
  map_ = std::make_unique<TableMap>(std::move(map));
  buckets_ = map_->buckets();
  places_ = std::make_unique<Places>(buckets_.size(), map_->header().former_buckets);
  level_ = map_->header().level;
  cells_ = cells_in(buckets_);
}

absl::Status Table::create(const TableOptions& options) {
  auto map = TableMap::create_beside(
      path_, new_header(options, static_cast<std::uint64_t>(time(nullptr))));
  if (!map.ok()) return map.status();
  if (auto status = map->put_in_place(path_, RENAME_NOREPLACE); !status.ok()) return status;
  absl::MutexLock lock(&mutex_);
  take(*std::move(map));
  return absl::OkStatus();
}

// NOT_FOUND when there is no file, or no longer because it was set aside.
absl::Status Table::open_existing(const TableOptions& options) {
  auto fd = open_and_lock(path_, TableAccess::kWrite);
  if (!fd.ok()) return fd.status();
  auto header = read_header(fd->get(), path_);
  if (!header.ok() && !to_be_set_aside(header.status())) return header.status();
  set_aside_reason_ =
      header.ok() ? misfit(*header, options) : std::string(message_of(header.status()));
  if (!set_aside_reason_.empty()) {
    // Renamed while locked: not from under a run that has just begun with it.
    if (std::rename(path_.c_str(), (path_ + ".old").c_str()) == 0) {
      return absl::NotFoundError("set aside");
    }
    return errno_status(errno, "rename", path_);
  }
  auto map = TableMap::map(path_, *std::move(fd), header->file_bytes(), TableAccess::kWrite);
  const std::uint64_t wanted = options.size_bytes / kPageBytes - 1;
  if (map.ok() && !options.any_size && header->buckets != wanted) {
    resized_from_bytes_ = header->file_bytes();
    map = resized(path_, *map, wanted);
  }
  if (!map.ok()) return map.status();
  absl::MutexLock lock(&mutex_);
  take(*std::move(map));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Table>> Table::open(const std::string& path,
                                                   const TableOptions& options) {
  if (auto status = check_size(options); !status.ok()) return status;
  std::unique_ptr<Table> table(new Table(path, options.block_size));
  auto status = table->open_existing(options);
  table->reopened_ = status.ok();
  if (absl::IsNotFound(status)) status = table->create(options);
  if (!status.ok()) return status;
  return table;
}

absl::StatusOr<std::unique_ptr<Table>> Table::open_copy(const std::string& path) {
  auto map = open_table_file(path, TableAccess::kCopy);
  if (!map.ok()) return map.status();
  std::unique_ptr<Table> table(new Table(path, map->header().block_size));
  table->reopened_ = true;
  absl::MutexLock lock(&table->mutex_);
  table->take(*std::move(map));
  return table;
}

absl::StatusOr<std::unique_ptr<Table>> Table::in_memory(const TableOptions& options) {
  if (auto status = check_size(options); !status.ok()) return status;
  auto map = TableMap::in_memory(new_header(options, static_cast<std::uint64_t>(time(nullptr))));
  if (!map.ok()) return map.status();
  std::unique_ptr<Table> table(new Table("table in memory", options.block_size));
  absl::MutexLock lock(&table->mutex_);
  table->take(*std::move(map));
  return table;
}

absl::Status Table::save() {
  absl::MutexLock lock(&mutex_);
  if (msync(map_->bytes().data(), map_->bytes().size(), MS_ASYNC) != 0) {
    return errno_status(errno, "msync", path_);
  }
  return absl::OkStatus();
}

Table::~Table() = default;

}  // namespace skep::index
