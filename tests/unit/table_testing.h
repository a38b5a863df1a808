// SPDX-License-Identifier: MIT
//
// What the table's tests share: tables in temporary folders, and damage to their files.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "skep/index/table.h"
#include "temporary_folder.h"
#include "testing.h"

namespace skep::testing {

using index::Fingerprint;
using index::Table;
using index::TableOptions;

inline constexpr std::uint64_t kOneBucket = Table::kMinBytes;
inline constexpr std::size_t kBucketCells = 512;
inline constexpr std::size_t kLineCells = 8;
inline constexpr std::uint32_t kTagBits = 22;

inline std::uint64_t bytes_of_buckets(std::uint64_t buckets) {
  return (buckets + 1) * Table::kPageBytes;
}

inline TableOptions options_of(std::uint64_t bytes) {
  TableOptions options;
  options.size_bytes = bytes;
  options.filesystem.fill(7);
  return options;
}

inline std::unique_ptr<Table> open_table(const std::string& path, const TableOptions& options) {
  auto table = Table::open(path, options);
  INFO(table.status());
  REQUIRE(table.ok());
  return *std::move(table);
}

// A fingerprint whose tag has these top 6 bits (its line) and these low bits.
inline Fingerprint in_line(std::uint64_t line, std::uint64_t low) {
  return line << (kTagBits - 6) | low;
}

inline bool holds(const Table& table, Fingerprint fingerprint, std::uint64_t address) {
  const auto found = table.find(fingerprint);
  return std::find(found.begin(), found.end(), address) != found.end();
}

// Writes over bytes of a file.
inline void damage(const std::string& path, std::size_t offset, const std::string& bytes) {
  std::string text = contents_of(path);
  REQUIRE(text.size() >= offset + bytes.size());
  text.replace(offset, bytes.size(), bytes);
  write_file(path, text);
}

}  // namespace skep::testing
