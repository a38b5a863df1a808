// SPDX-License-Identifier: MIT
//
// What `skep estimate` and `skep tune` share: a filesystem that is only looked at, and tables in
// memory.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <memory>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/estimate.h"
#include "skep/index/table.h"
#include "skep/service/estimate.h"
#include "skep/service/session.h"
#include "target.h"

namespace skep::service {

absl::StatusOr<std::unique_ptr<index::Table>> table_in_memory(const btrfs::FsInfo& info,
                                                              std::uint64_t bytes);
// As the user says, or as the size of the filesystem asks for.
dedupe::Sample sample_for(double sample_percent, std::uint64_t default_one_in);

// What `look` finds, which is given the filesystem and the place for it, and how long that took.
template <typename Found, typename Look>
LookResult<Found> look_at(const EstimateOptions& options, Look look) {
  LookResult<Found> out;
  const Target target = open_target(options.target, Purpose::kLook);
  out.refusal = target.refusal;
  if (target.filesystem == nullptr) return out;
  warn_of_unmatched(*target.filesystem, options.settings.engine.filter);
  const auto begin = std::chrono::steady_clock::now();
  out.status = look(*target.filesystem, out.found);
  out.found.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return out;
}

}  // namespace skep::service
