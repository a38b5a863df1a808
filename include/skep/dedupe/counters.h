// SPDX-License-Identifier: MIT
//
// What happened, as numbers that only grow. Every extent that enters the pipeline leaves it in
// exactly one Verdict, so after a whole pass the verdicts add up to what was scanned. Thread-safe
// (relaxed atomics: readers see each number whole, not all of them at one instant).
#pragma once

#include <absl/functional/function_ref.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

#include "skep/dedupe/types.h"

namespace skep::dedupe {

struct Counters {
  using Count = std::atomic<std::uint64_t>;
  struct Tally {
    Count extents = 0;
    Count bytes = 0;
  };
  std::array<Tally, static_cast<std::size_t>(Verdict::kCount)> verdicts;

  Count extents_scanned = 0, bytes_scanned = 0;
  Count bytes_duplicate = 0;      // blocks of victims that are stored elsewhere, zeros included
  Count bytes_gone = 0;           // lengths of extents whose item is verified to be gone
  Count bytes_copied = 0;         // remnants
  Count bytes_zero = 0;           // of bytes_duplicate, those that became holes
  Count bytes_read_asked = 0;     // read ahead or read
  Count bytes_read_contents = 0;  // of them, unpacked, to fingerprint extents
  Count contents_unreadable = 0;  // pieces of extents that could not be read for that
  Count bytes_deep = 0;           // of bytes_gone less bytes_copied, what the deep passes added
  Count bytes_progress = 0;       // of the pass: extents that are settled
  Count fingerprints = 0;         // blocks looked up
  Count cache_hits = 0;           // runs found in the locality cache
  Count table_hits = 0;           // runs found in the table
  Count table_stale = 0;          // cells that pointed at something else
  Count windows_loaded = 0;       // of the locality cache
  Count content_hits = 0;         // runs found in the content cache
  Count contents_loaded = 0;      // extents read because the table named them
  Count lone_read = 0;            // lone blocks that were read to tell strangers
  Count lone_strangers = 0;       // ... and were strangers
  Count stranger_pairs = 0;       // of blocks that differ and have one fingerprint, met when shared
  Count searches_passed_over = 0;  // for a block whose fingerprint many strangers have
  Count role_swaps = 0;            // smaller extents taken up because a larger one covers them
  Count references_inline = 0;     // victims and keepers resolved from the extent item
  Count references_searched = 0;   // ... by LOGICAL_INO
  Count share_calls = 0;           // FIDEDUPERANGE
  Count share_ranges = 0;          // ranges in them
  Count share_differs = 0;         // ranges that were not equal
  Count share_retries = 0;         // EAGAIN
  Count share_busy = 0;            // ranges given up because it lasted
  Count fragments = 0;             // file extents made, less those replaced; holes count as one
  Count pages_scanned = 0;         // calls of the kernel that read the extent tree for a scan
  Count extents_late = 0;          // that had got checksums after they were looked at
  Count extents_indexed = 0;       // whose checksums were read to fill the table
  Count commits = 0;               // transactions committed to verify
  Count not_gone = 0;  // extents whose references were replaced, and that are still there
  Count nanos_match = 0, nanos_plan = 0, nanos_prefetch = 0, nanos_share = 0, nanos_settle = 0;
  Count nanos_resolve_wait = 0, nanos_share_wait = 0;  // for the other phase to end

  void leave(Verdict verdict, std::uint64_t bytes, std::uint64_t extents = 1);
  std::uint64_t freed_bytes() const;  // gone less copied; never below zero
  // Each counter that is no verdict, with its name in the JSON summary.
  void for_each(absl::FunctionRef<void(std::string_view, std::uint64_t)> visit) const;
};

// Adds the time until its end of life to a counter.
class Stopwatch {
 public:
  explicit Stopwatch(Counters::Count& nanos);
  ~Stopwatch();
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  Counters::Count& nanos_;
  const std::int64_t start_;
};

}  // namespace skep::dedupe
