// SPDX-License-Identifier: MIT
//
// Carries plans out:
//   1. Remnants of all plans of the batch are copied to a temporary file, tails to another, a block
//      each; writeback starts.
//   2. Shares with files and with zeros. Ranges that differ although their checksums are equal are
//      copied after all, while the plan still gains. Then shares with the copies.
//   3. Shares with the tails, last first: the file of tails is cut to end inside the block whose
//      turn it is, so that source and target both end at their file's end, as the kernel asks. One
//      temporary file and one extent serve hundreds of tails.
// Nothing here can change what a file reads as: FIDEDUPERANGE compares under locks, and files of
// users are open for reading only.
//
// Thread-safe: batches are applied at the same time; each call works on its own batch.
#pragma once

#include <absl/status/status.h>

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/counters.h"
#include "skep/dedupe/pace.h"
#include "skep/dedupe/phase_gate.h"
#include "skep/dedupe/strangers.h"
#include "skep/dedupe/types.h"

namespace skep::dedupe {

class ApplyStage {
 public:
  // `stop`: asked between plans; then the rest of the batch is dropped untouched.
  ApplyStage(btrfs::Filesystem& fs, PhaseGate& gate, Strangers& strangers, Counters& counters,
             const std::atomic<bool>& stop, Steps steps = {})
      : fs_(fs),
        gate_(gate),
        strangers_(strangers),
        counters_(counters),
        stop_(stop),
        steps_(std::move(steps)) {}

  // Moves batch.plans to batch.outcomes, and says where new blocks lie. The error is one that ends
  // the run (no space); errors of single files are outcomes.
  absl::Status run(Batch& batch);

 private:
  btrfs::Filesystem& fs_;
  PhaseGate& gate_;
  Strangers& strangers_;
  Counters& counters_;
  const std::atomic<bool>& stop_;
  const Steps steps_;
};

}  // namespace skep::dedupe
