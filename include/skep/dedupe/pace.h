// SPDX-License-Identifier: MIT
//
// Who decides when the engine may go on. It is asked before each batch is taken up, and told when
// one is settled, so that it can let one batch go at a time and look at the machine in between.
// Thread-safe: before_batch and batch_done are called from several threads.
#pragma once

#include <functional>

namespace skep::dedupe {

class Pace {
 public:
  virtual ~Pace() = default;
  // Returns when the next batch may begin, or soon after `stop` says true.
  virtual void before_batch(const std::function<bool()>& stop) = 0;
  // A batch that before_batch let go is settled, or was dropped.
  virtual void batch_done() = 0;
};

}  // namespace skep::dedupe
