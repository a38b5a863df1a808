// SPDX-License-Identifier: MIT
//
// What a pass would make of one extent: the stages from fingerprint to plan, run for it alone, and
// nothing carried out. What they decide rests on a table, in which what they take out of it is put
// back; a copy of the one in use is what it wants.
//
// An extent that is not to be looked at any more is judged as if it came now.
// Thread-compatible. While it works nobody may share on the filesystem (see PhaseGate).
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/crawl.h"
#include "skep/dedupe/types.h"
#include "skep/index/table.h"

namespace skep::dedupe {

struct Explanation {
  // kFreed: it would go.
  Verdict verdict = Verdict::kUnique;
  std::uint64_t copied_bytes = 0;  // so that it could
  std::uint64_t zero_bytes = 0;    // of its content
  // What of it is stored elsewhere, whatever the verdict.
  std::vector<Run> runs;
};

class Explainer {
 public:
  // Extents after these generations have yet to be looked at, quickly and deeply.
  struct Done {
    std::uint64_t quick = 0, deep = 0;
  };
  // All borrowed.
  Explainer(btrfs::Filesystem& fs, const index::Fingerprinter& fingerprinter, index::Table& table,
            const Options& options, Done done);
  ~Explainer();

  absl::StatusOr<Explanation> explain(const btrfs::Extent& extent);

 private:
  struct Shared;
  struct Look;
  absl::StatusOr<bool> look(PassKind kind, const btrfs::Extent& extent, FingerprintedExtent& found,
                            Explanation& out);
  void find_runs(const FingerprintedExtent& found, Explanation& out);

  const std::unique_ptr<Shared> shared_;
};

}  // namespace skep::dedupe
