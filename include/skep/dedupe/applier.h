// SPDX-License-Identifier: MIT
//
// Who carries plans out in the place of the apply stage: nobody does, where a run is only imagined.
#pragma once

#include <absl/status/status.h>

#include "skep/dedupe/types.h"

namespace skep::dedupe {

// Thread-safe.
class Applier {
 public:
  virtual ~Applier() = default;
  // Moves batch.plans to batch.outcomes; also called for batches without plans.
  virtual absl::Status run(Batch& batch) = 0;
};

}  // namespace skep::dedupe
