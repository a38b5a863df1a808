// SPDX-License-Identifier: MIT
//
// FIDEDUPERANGE itself. Thread-safe.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "skep/btrfs/filesystem.h"

namespace skep::btrfs {

struct OpenTarget {
  int fd = -1;
  std::uint64_t offset = 0;
};

// As Filesystem::dedupe(); `name` is that of the source, for the error.
absl::StatusOr<std::vector<DedupeResult>> dedupe_range(int source, std::string_view name,
                                                       std::uint64_t offset, std::uint64_t length,
                                                       std::span<const OpenTarget> targets);

}  // namespace skep::btrfs
