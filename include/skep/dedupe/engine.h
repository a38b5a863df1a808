// SPDX-License-Identifier: MIT
//
// One pass: the stages, joined by a oneTBB flow graph.
//
//   crawl ─► limiter ─► fingerprint ─► match ─► plan ─► prefetch ─► apply ─► settle ─┐
//               ▲                                                                    │
//               └──────────────────────── a batch is settled ───────────────────────┘
//
// After the crawl and a commit, extents that were keepers when the crawl met them are revisited:
// only then can all their references be named.
//
// Crawl, fingerprint, match, plan and settle run one batch at a time, each in order up to plan;
// prefetch and apply work on several. Memory is bounded by the limiter: limits::kBatchesInFlight
// batches of at most limits::kBatchExtents extents. Thread-compatible: run() once.
#pragma once

#include <absl/status/status.h>

#include <atomic>
#include <functional>
#include <memory>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/counters.h"
#include "skep/dedupe/crawl.h"
#include "skep/dedupe/types.h"
#include "skep/index/table.h"

namespace skep::dedupe {

struct PassResult {
  absl::Status status;  // RESOURCE_EXHAUSTED: out of space; others: the kernel failed
  Cursor reached;       // everything before it is settled
  bool complete = false;
};

// What outlives a pass: which extents are keepers, how they are read, what metadata costs.
class Engine {
 public:
  // All borrowed, for the engine's life.
  Engine(btrfs::Filesystem& fs, const index::Fingerprinter& fingerprinter, index::Table& table,
         Counters& counters, const Options& options);
  ~Engine();

  // Crawls `window` from `start` to its end, or until `stop` becomes true; what is under way is
  // then finished or dropped, within one piece of sharing. `settled` is called now and then with
  // the cursor up to which everything is settled.
  PassResult run_pass(Window window, Cursor start, const Census& census,
                      const std::atomic<bool>& stop, std::function<void(Cursor)> settled);

 private:
  struct Shared;
  struct Flow;
  void revisit(Window window, const std::atomic<bool>& stop, PassResult& result);
  std::unique_ptr<Shared> shared_;
};

}  // namespace skep::dedupe
