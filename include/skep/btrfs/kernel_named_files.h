// SPDX-License-Identifier: MIT
//
// NamedFiles as the running kernel has them. Stateless; thread-safe.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "skep/btrfs/named_files.h"

namespace skep::btrfs {

class KernelNamedFiles final : public NamedFiles {
 public:
  absl::StatusOr<std::unique_ptr<NamedFile>> open(const std::string& path) override;
  absl::StatusOr<std::vector<DedupeResult>> dedupe(NamedFile& source, std::uint64_t offset,
                                                   std::uint64_t length,
                                                   std::span<const RangeTarget> targets) override;
};

}  // namespace skep::btrfs
