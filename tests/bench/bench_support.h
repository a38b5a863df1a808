// SPDX-License-Identifier: MIT
//
// What benchmarks share: a temporary folder with a table, and a filesystem in memory that holds
// extents of one length. Nothing here ends the program; what is missing makes the benchmark report
// an error.
#pragma once

#include <stdlib.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/btrfs/memory_filesystem.h"
#include "skep/index/locality_cache.h"
#include "skep/index/table.h"

namespace skep::bench {

inline constexpr std::uint64_t kBlock = 4096;
inline constexpr std::uint64_t kWindowBytes = index::LocalityCache::kWindowBlocks * kBlock;

// A table in a folder of its own, both gone at the end of its life.
class TemporaryTable {
 public:
  explicit TemporaryTable(std::uint64_t size_bytes) {
    std::error_code error;
    auto path = (std::filesystem::temp_directory_path(error) / "skep-bench-XXXXXX").string();
    if (error || mkdtemp(path.data()) == nullptr) return;
    folder_ = std::move(path);
    reopen(size_bytes);
  }
  // Closes it and opens it again, resized; false when that failed.
  bool reopen(std::uint64_t size_bytes) {
    table_.reset();
    index::TableOptions options;
    options.size_bytes = size_bytes;
    auto table = index::Table::open(folder_ + "/table", options);
    if (table.ok()) table_ = *std::move(table);
    return table_ != nullptr;
  }
  ~TemporaryTable() {
    table_.reset();
    std::error_code ignored;
    if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
  }
  TemporaryTable(const TemporaryTable&) = delete;
  TemporaryTable& operator=(const TemporaryTable&) = delete;

  explicit operator bool() const { return table_ != nullptr; }
  index::Table& operator*() const { return *table_; }
  index::Table* operator->() const { return table_.get(); }

 private:
  std::string folder_;
  std::unique_ptr<index::Table> table_;
};

inline void fill_random(std::mt19937_64& random, std::span<std::byte> out) {
  for (std::size_t at = 0; at + sizeof(std::uint64_t) <= out.size(); at += sizeof(std::uint64_t)) {
    const std::uint64_t word = random();
    std::memcpy(out.data() + at, &word, sizeof word);
  }
}

inline std::vector<std::byte> random_bytes(std::uint64_t seed, std::size_t size) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> out(size);
  fill_random(random, out);
  return out;
}

// Empty, the first extent at the start of a window; files are cut into extents of `extent_bytes`.
inline std::unique_ptr<btrfs::MemoryFilesystem> new_filesystem(std::uint64_t extent_bytes) {
  btrfs::MemoryOptions options;
  options.max_extent_length = extent_bytes;
  options.first_address = kWindowBytes;
  return std::make_unique<btrfs::MemoryFilesystem>(options);
}

// The extent tree as the last commit left it; empty after an error.
inline std::vector<btrfs::Extent> all_extents(btrfs::Filesystem& fs) {
  constexpr std::size_t kPlenty = 16 << 20;
  auto page = fs.extents(0, std::numeric_limits<std::uint64_t>::max(), kPlenty);
  if (!page.ok() || !page->done) return {};
  return std::move(page->extents);
}

}  // namespace skep::bench
