// SPDX-License-Identifier: MIT
//
// What the extent maps of files say about each other: how much is stored in one place already, and
// how much nobody uses any more. Pure functions, thread-safe.
#pragma once

#include <cstdint>

#include "skep/btrfs/named_files.h"

namespace skep::dedupe {

struct FileRange {
  const btrfs::ExtentMap& map;
  std::uint64_t offset = 0;
};

struct Agreement {
  std::uint64_t bytes = 0;  // of the range, at which both are stored in the same place or in none
  // False where compressed extents are among them: of these the map tells only where they begin, so
  // that different parts of one look the same.
  bool certain = true;
};

// How far [offset, offset + length) of two files agrees.
Agreement agreement(const FileRange& one, const FileRange& other, std::uint64_t length);

struct Released {
  std::uint64_t bytes = 0;
  bool packed = false;  // compressed extents are among them, counted as they are unpacked
};

// What the file used alone before and does not use any more, which the filesystem can give back.
// With `whole_extents` a stretch of the map counts whole or not at all. What was shared before does
// not count: from the map one can not tell with whom.
Released released(const btrfs::ExtentMap& before, const btrfs::ExtentMap& after,
                  bool whole_extents);

}  // namespace skep::dedupe
