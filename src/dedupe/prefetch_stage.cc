// SPDX-License-Identifier: MIT
#include "skep/dedupe/prefetch_stage.h"

#include "read_ahead.h"

namespace skep::dedupe {

void PrefetchStage::run(const Batch& batch) const {
  const Stopwatch watch(counters_.nanos_prefetch);
  ReadAhead ahead(fs_, counters_, steps_);
  for (const ReplacementPlan& plan : batch.plans) {
    for (const Share& share : plan.shares) {
      if (ahead.asked_bytes() >= steps_.ahead_bytes()) return;
      ahead.add(share.target, share.target_offset, share.length);
      if (share.kind == SourceKind::kFile) {
        ahead.add(share.source, share.source_offset, share.length);
      }
    }
  }
}

}  // namespace skep::dedupe
