// SPDX-License-Identifier: MIT
#include "skep/dedupe/prefetch_stage.h"

#include <algorithm>

#include "skep/dedupe/limits.h"

namespace skep::dedupe {

void PrefetchStage::read_ahead(btrfs::FileKey file, std::uint64_t offset,
                               std::uint64_t length) const {
  // Longer ranges are shared piece by piece; the apply stage reads each next piece ahead itself.
  length = std::min(length, limits::kShareBytes);
  auto opened = fs_.open(file);
  if (!opened.ok()) return;  // told when the range is shared
  (*opened)->readahead(offset, length);
  counters_.bytes_read_asked += length;
}

void PrefetchStage::run(const Batch& batch) const {
  if (batch.plans.empty()) return;
  const Stopwatch watch(counters_.nanos_prefetch);
  for (const ReplacementPlan& plan : batch.plans) {
    // The victim's parts of a file follow each other: one range for all of them.
    btrfs::FileKey file;
    std::uint64_t first = 0, end = 0;
    for (const Share& share : plan.shares) {
      if (share.target == file && share.target_offset == end) {
        end += share.length;
        continue;
      }
      if (end > first) read_ahead(file, first, end - first);
      file = share.target;
      first = share.target_offset;
      end = first + share.length;
    }
    if (end > first) read_ahead(file, first, end - first);
    for (const Share& share : plan.shares) {
      if (share.kind == SourceKind::kFile) {
        read_ahead(share.source, share.source_offset, share.length);
      }
    }
  }
}

}  // namespace skep::dedupe
