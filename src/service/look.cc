// SPDX-License-Identifier: MIT
#include "look.h"

#include <algorithm>
#include <cmath>

namespace skep::service {

absl::StatusOr<std::unique_ptr<index::Table>> table_in_memory(const btrfs::FsInfo& info,
                                                              std::uint64_t bytes) {
  index::TableOptions options;
  options.size_bytes = bytes;
  options.filesystem = info.uuid;
  options.block_size = info.block_size;
  options.csum_type = info.csum_type;
  return index::Table::in_memory(options);
}

dedupe::Sample sample_for(double sample_percent, std::uint64_t default_one_in) {
  if (sample_percent <= 0) return dedupe::Sample(default_one_in);
  const long long one_in = std::llround(100 / sample_percent);
  return dedupe::Sample(static_cast<std::uint64_t>(std::max(1LL, one_in)));
}

}  // namespace skep::service
