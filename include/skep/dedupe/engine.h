// SPDX-License-Identifier: MIT
//
// One pass: the stages, joined by a oneTBB flow graph.
//
//   crawl ─► limiter ─► fingerprint ─► match ─► plan ─► prefetch ─► apply ─► settle ─┐
//               ▲                                                                    │
//               └──────────────────────── a batch is settled ───────────────────────┘
//
// After the crawl and a commit, extents that were keepers when the crawl met them are revisited:
// only then can all their references be named. So are those that could not be shared just then:
// moved by a balance, with a file that was being written, or met by an error.
//
// A quick pass looks at every extent by its stored checksums. Two deep passes follow where
// something had to be read: one over the others, which may equal what was read, and go; one over
// those.
//
// Crawl, fingerprint, match, plan and settle run one batch at a time, each in order up to plan;
// prefetch and apply work on several. Memory is bounded by the limiter: limits::kBatchesInFlight
// batches of at most limits::kBatchExtents extents. Thread-compatible: run() once.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/applier.h"
#include "skep/dedupe/counters.h"
#include "skep/dedupe/crawl.h"
#include "skep/dedupe/pace.h"
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
  // All borrowed, for the engine's life. Without a pace, work is never held up. With an applier,
  // nothing is read ahead, and plans go to it.
  Engine(btrfs::Filesystem& fs, const index::Fingerprinter& fingerprinter, index::Table& table,
         Counters& counters, const Options& options, Pace* pace = nullptr,
         Applier* applier = nullptr, std::function<bool()> stores_soon = nullptr);
  ~Engine();

  // Crawls `window` from `start` to its end, or until `stop`, which is asked from several threads,
  // says true; what is under way is then finished or dropped, within one piece of sharing.
  // `settled` is called now and then with the cursor up to which everything is settled and
  // committed.
  PassResult run_pass(PassKind kind, Window window, Cursor start, const Census& census,
                      const std::function<bool()>& stop, std::function<void(Cursor)> settled);
  // A quick pass over extents of the window named by address: of those that are still there.
  PassResult look_at(const std::vector<std::uint64_t>& addresses, Window window,
                     const std::function<bool()>& stop);
  // The same and a deep one, once more. Between rounds: it forgets what is marked.
  PassResult look_again(const std::vector<std::uint64_t>& addresses, Window window,
                        const std::function<bool()>& stop);
  // A pass was cut short and does not go on in this engine: what it had put off is to be retried.
  void retry_deferred();
  // Addresses of extents that could not be shared when they were revisited either, since this was
  // last asked; limits::kRetries at most.
  std::vector<std::uint64_t> take_retries();
  // PassKind::kContentScan over the extents of a window from address `start` on, before its deep
  // passes. `reached` is called now and then with where it would go on. CANCELLED when `stop` said
  // so.
  absl::Status read_contents(Window window, std::uint64_t start, const std::function<bool()>& stop,
                             const std::function<void(std::uint64_t)>& reached);
  // The same over extents that earlier runs have judged, for the table alone: nothing is marked or
  // counted.
  absl::Status refill_contents(Window window, const std::function<bool()>& stop);
  // The deep passes over what was read are over: what none of them looked at is unique.
  void conclude_contents();
  // True when deep passes have something to look at.
  bool anything_to_deepen() const;
  // A content scan that was begun in another process has told nobody what is worth a look.
  void deepen_everything();

 private:
  struct Shared;
  struct Flow;
  void in_arena(const std::function<void()>& work);
  void look(PassKind kind, const std::vector<std::uint64_t>& addresses, Window window,
            const std::function<bool()>& stop, PassResult& result);
  void revisit(PassKind kind, Window window, const std::function<bool()>& stop, PassResult& result);
  std::unique_ptr<Shared> shared_;
};

}  // namespace skep::dedupe
