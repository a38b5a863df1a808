// SPDX-License-Identifier: MIT
//
// What unit tests share: bytes with a known content, and short ways to ask a MemoryFilesystem.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <string_view>
#include <vector>

#include "catch.h"
#include "skep/btrfs/memory_filesystem.h"
#include "skep/btrfs/status.h"

namespace skep::testing {

using Bytes = std::vector<std::byte>;

inline constexpr std::uint64_t kBlock = 4096;
inline constexpr std::uint64_t kEverything = std::numeric_limits<std::uint64_t>::max();

inline btrfs::Uuid uuid_of(std::uint8_t byte) {
  btrfs::Uuid uuid;
  uuid.fill(byte);
  return uuid;
}

// For what asks whether to stop.
inline bool never() { return false; }

inline Bytes bytes_of(std::string_view text) {
  Bytes out;
  for (const char c : text) out.push_back(static_cast<std::byte>(c));
  return out;
}

// One block for each letter, filled with it.
inline Bytes blocks(std::string_view letters) {
  Bytes out;
  for (const char c : letters) out.insert(out.end(), kBlock, static_cast<std::byte>(c));
  return out;
}

inline Bytes random_bytes(std::uint64_t seed, std::size_t size) {
  std::mt19937_64 random(seed);
  Bytes out(size);
  for (std::byte& byte : out) byte = static_cast<std::byte>(random());
  return out;
}

inline Bytes head(Bytes bytes, std::size_t size) {
  bytes.resize(size);
  return bytes;
}

inline Bytes joined(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// The extent tree as the last commit left it.
inline std::vector<btrfs::Extent> all_extents(btrfs::Filesystem& fs) {
  auto page = fs.extents(0, kEverything, 16 << 20);
  REQUIRE(page.ok());
  REQUIRE(page->done);
  return page->extents;
}

inline btrfs::FileMap map_of(btrfs::Filesystem& fs, btrfs::FileKey file) {
  auto map = fs.file_map(file, 0, kEverything);
  REQUIRE(map.ok());
  return *map;
}

inline std::shared_ptr<btrfs::File> open_file(btrfs::Filesystem& fs, btrfs::FileKey file) {
  auto opened = fs.open(btrfs::FileHandle(file));
  REQUIRE(opened.ok());
  return *opened;
}

inline std::shared_ptr<btrfs::TemporaryFile> temporary(btrfs::Filesystem& fs) {
  auto created = fs.create_temporary({});
  REQUIRE(created.ok());
  return *created;
}

// Shares one range with one target, in a call that must not fail as a whole.
inline btrfs::DedupeResult dedupe_one(btrfs::Filesystem& fs, btrfs::FileKey source,
                                      std::uint64_t offset, std::uint64_t length,
                                      btrfs::FileKey target, std::uint64_t target_offset) {
  const auto from = open_file(fs, source);
  const btrfs::DedupeTarget to{open_file(fs, target), target_offset};
  auto results = fs.dedupe(*from, offset, length, {&to, 1});
  REQUIRE(results.ok());
  REQUIRE(results->size() == 1);
  return results->front();
}

inline bool is_same(const btrfs::DedupeResult& result, std::uint64_t bytes) {
  return result.outcome == btrfs::DedupeResult::Outcome::kSame && result.bytes == bytes;
}

inline bool is_error(const btrfs::DedupeResult& result, int error) {
  return result.outcome == btrfs::DedupeResult::Outcome::kError && result.error == error;
}

// Every checksum of the filesystem, by address.
inline std::map<std::uint64_t, std::uint32_t> all_csums(btrfs::Filesystem& fs) {
  std::map<std::uint64_t, std::uint32_t> out;
  auto status = fs.csums(0, kEverything, [&](std::uint64_t at, std::span<const std::byte> data) {
    REQUIRE(data.size() % 4 == 0);
    for (std::size_t i = 0; i < data.size(); i += 4, at += fs.info().block_size) {
      std::uint32_t csum = 0;
      for (std::size_t k = 0; k < 4; ++k) {
        csum |= std::to_integer<std::uint32_t>(data[i + k]) << (8 * k);
      }
      REQUIRE(out.emplace(at, csum).second);
    }
  });
  REQUIRE(status.ok());
  return out;
}

}  // namespace skep::testing
