// SPDX-License-Identifier: MIT
//
// A table file, open, locked and mapped into memory. The lock is flock(2)'s and lasts as long as
// the object: exclusive for whoever writes, shared for whoever reads. Move-only; thread-compatible.
#pragma once

#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "skep/btrfs/descriptor.h"
#include "table_bucket.h"
#include "table_header.h"

namespace skep::index {

// kCopy: what is written stays in this process.
enum class TableAccess { kRead, kWrite, kCopy };

// The name of a table that is not complete yet.
inline std::string name_beside(const std::string& path) { return path + ".new"; }

// Opens and locks what `path` names, without looking inside. UNAVAILABLE when another process has
// the lock, NOT_FOUND when there is no file.
absl::StatusOr<btrfs::Descriptor> open_and_lock(const std::string& path, TableAccess access);

class TableMap {
 public:
  TableMap() = default;
  // Of an open and locked file whose header was read and validated.
  static absl::StatusOr<TableMap> map(const std::string& path, btrfs::Descriptor locked,
                                      std::uint64_t bytes, TableAccess access);
  // Makes `path`.new, with room for all of it, and locks it. RESOURCE_EXHAUSTED when there is no
  // room; no file is left then.
  static absl::StatusOr<TableMap> create_beside(const std::string& path, const TableHeader& header);
  // Flushes what create_beside() made, and gives it its name: a crash leaves a whole table or none.
  // With RENAME_NOREPLACE, UNAVAILABLE when another process was faster.
  absl::Status put_in_place(const std::string& path, unsigned rename_flags);
  // Of no file: pages take memory once they are written to.
  static absl::StatusOr<TableMap> in_memory(const TableHeader& header);

  TableMap(TableMap&& other) noexcept
      : fd_(std::move(other.fd_)), map_(std::exchange(other.map_, {})) {}
  TableMap& operator=(TableMap&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(map_, other.map_);
    return *this;
  }
  ~TableMap();

  int fd() const { return fd_.get(); }
  std::span<std::byte> bytes() const { return map_; }
  TableHeader& header() const { return *reinterpret_cast<TableHeader*>(map_.data()); }
  std::span<Bucket> buckets() const {
    return {reinterpret_cast<Bucket*>(map_.data() + Table::kPageBytes),
            map_.size() / Table::kPageBytes - 1};
  }

 private:
  btrfs::Descriptor fd_;
  std::span<std::byte> map_;
};

// All of the above for a table that somebody looks after. Errors as in table_file.h.
absl::StatusOr<TableMap> open_table_file(const std::string& path, TableAccess access);

}  // namespace skep::index
