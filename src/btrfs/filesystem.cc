// SPDX-License-Identifier: MIT
#include "skep/btrfs/filesystem.h"

#include <limits>

namespace skep::btrfs {

absl::StatusOr<ExtentPage> Filesystem::extents_since(std::uint64_t first,
                                                     std::uint64_t /*generation*/,
                                                     std::size_t buffer_bytes) {
  return extents(first, std::numeric_limits<std::uint64_t>::max(), buffer_bytes);
}

}  // namespace skep::btrfs
