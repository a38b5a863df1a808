// SPDX-License-Identifier: MIT
#include "dedupe_range.h"

#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "skep/btrfs/status.h"

namespace skep::btrfs {
namespace {

DedupeResult result_of(const file_dedupe_range_info& raw) {
  DedupeResult out;
  out.bytes = raw.bytes_deduped;
  if (raw.status == FILE_DEDUPE_RANGE_SAME) {
    out.outcome = DedupeResult::Outcome::kSame;
  } else if (raw.status == FILE_DEDUPE_RANGE_DIFFERS) {
    out.outcome = DedupeResult::Outcome::kDiffers;
  } else {
    out.error = -raw.status;
  }
  return out;
}

}  // namespace

absl::StatusOr<std::vector<DedupeResult>> dedupe_range(int source, std::string_view name,
                                                       std::uint64_t offset, std::uint64_t length,
                                                       std::span<const OpenTarget> targets) {
  std::vector<std::uint64_t> buffer(
      (sizeof(file_dedupe_range) + targets.size() * sizeof(file_dedupe_range_info)) / 8);
  auto* args = reinterpret_cast<file_dedupe_range*>(buffer.data());
  args->src_offset = offset;
  args->src_length = length;
  args->dest_count = static_cast<std::uint16_t>(targets.size());
  for (std::size_t i = 0; i < targets.size(); ++i) {
    args->info[i].dest_fd = targets[i].fd;
    args->info[i].dest_offset = targets[i].offset;
  }
  while (ioctl(source, FIDEDUPERANGE, args) != 0) {
    if (errno != EINTR) {
      return errno_status(errno, "FIDEDUPERANGE", fmt::format("{} at {}", name, offset));
    }
  }
  std::vector<DedupeResult> results;
  results.reserve(targets.size());
  for (std::size_t i = 0; i < targets.size(); ++i) results.push_back(result_of(args->info[i]));
  return results;
}

}  // namespace skep::btrfs
