// SPDX-License-Identifier: MIT
//
// What the user leaves out. Plain values; no thread rules.
#pragma once

#include <cstdint>
#include <vector>

#include "skep/dedupe/glob.h"

namespace skep::dedupe {

struct SizeLimits {
  std::uint64_t least = 0;
  std::uint64_t most = 0;  // 0: no limit

  bool contains(std::uint64_t bytes) const {
    return bytes >= least && (most == 0 || bytes <= most);
  }
  bool any() const { return least != 0 || most != 0; }
  bool consistent() const { return most == 0 || least <= most; }
  bool operator==(const SizeLimits&) const = default;
};

// No include of a kind is all of that kind; what is excluded stays so whatever includes it.
struct FilterOptions {
  std::vector<Glob> include_subvolumes, exclude_subvolumes;
  std::vector<Glob> include_paths, exclude_paths;
  bool read_only_subvolumes = true;  // false: those that are read-only are left out
  SizeLimits file_bytes;             // of the files
  SizeLimits extent_bytes;           // of the extents, as on disk
  // By its root, a subvolume outside of which everything is left out; those nested in it are in.
  // 0: no such limit.
  std::uint64_t within_subvolume = 0;

  bool operator==(const FilterOptions&) const = default;
  bool names_subvolumes() const {
    return !include_subvolumes.empty() || !exclude_subvolumes.empty();
  }
  bool names_paths() const { return !include_paths.empty() || !exclude_paths.empty(); }
  // True when it depends on the file whether a reference is left out.
  bool any_of_files() const {
    return names_subvolumes() || names_paths() || !read_only_subvolumes || file_bytes.any() ||
           within_subvolume != 0;
  }
};

// True when `now` may let through what `before` left out.
bool lets_more_through(const FilterOptions& before, const FilterOptions& now);

}  // namespace skep::dedupe
