// SPDX-License-Identifier: MIT
//
// How extents are stored, and through which files they can be read. The extent tree does not say
// whether an extent is compressed; the file extent items that refer to it do. The extent item's
// inline references name them, and extents that were written together have theirs in the
// same leaves: neighbours are looked up together, one search for many.
//
// Thread-compatible.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/types.h"

namespace skep::dedupe {

struct ProbedExtent {
  bool known = false;         // some file extent item was found
  bool preallocated = false;  // in part at least
  bool encoded = false;
  std::uint8_t compression = 0;
  std::uint64_t content_length = 0;  // bytes, unpacked
  // Those found; file_size is not filled in.
  std::vector<Reference> references;
};

class ExtentProbe {
 public:
  explicit ExtentProbe(btrfs::Filesystem& fs) : fs_(fs) {}

  // One for each of `extents`; with all their inline references where those are needed to read it:
  // it is compressed, or `all_references`. What cannot be looked up (no inline reference, files
  // gone since, an error of the kernel) is not known.
  std::vector<ProbedExtent> probe(std::span<const btrfs::Extent> extents, bool all_references);

 private:
  struct Wanted;
  void look_up(std::vector<Wanted>& wanted, std::span<const btrfs::Extent> extents,
               std::vector<ProbedExtent>& out);

  btrfs::Filesystem& fs_;
};

}  // namespace skep::dedupe
