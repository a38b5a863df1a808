// SPDX-License-Identifier: MIT
//
// The apply stage of a run that is only imagined: what a plan says comes true on an
// ImaginedFilesystem, as if the kernel agreed to all of it. Copies of a batch lie in one extent, as
// those of a real one do. Thread-safe.
#pragma once

#include <cstdint>

#include "skep/dedupe/applier.h"
#include "skep/dedupe/gain_ledger.h"
#include "skep/dedupe/imagined_filesystem.h"
#include "skep/dedupe/types.h"

namespace skep::dedupe {

class ImaginedApply final : public Applier {
 public:
  // Both are borrowed. What each plan gains is entered into the ledger.
  ImaginedApply(ImaginedFilesystem& fs, GainLedger& ledger)
      : fs_(fs), ledger_(ledger), block_(fs.info().block_size) {}

  absl::Status run(Batch& batch) override;

 private:
  void copy_blocks(Batch& batch);
  void copy_tails(Batch& batch);
  void conclude(ReplacementPlan& plan, Batch& batch);

  ImaginedFilesystem& fs_;
  GainLedger& ledger_;
  const std::uint64_t block_;
};

}  // namespace skep::dedupe
