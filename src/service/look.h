// SPDX-License-Identifier: MIT
//
// What `skep estimate` and `skep tune` share: a filesystem that is only looked at, and tables in
// memory.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/estimate.h"
#include "skep/index/table.h"

namespace skep::service {

absl::StatusOr<std::unique_ptr<index::Table>> table_in_memory(const btrfs::FsInfo& info,
                                                              std::uint64_t bytes);
// As the user says, or as the size of the filesystem asks for.
dedupe::Sample sample_for(double sample_percent, std::uint64_t default_one_in);

}  // namespace skep::service
