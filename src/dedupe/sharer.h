// SPDX-License-Identifier: MIT
//
// FIDEDUPERANGE for the apply stage: one source range, many targets, in pieces that a stop can wait
// for and a pace can hold up, each piece read ahead while the one before it is compared.
// Thread-compatible.
#pragma once

#include <absl/time/time.h>

#include <memory>
#include <span>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/counters.h"
#include "skep/dedupe/pace.h"
#include "skep/dedupe/phase_gate.h"
#include "skep/dedupe/types.h"

namespace skep::dedupe {

// A send holds its subvolume for long: no use to wait for its end here, but a short one passes.
inline constexpr int kSendRetries = 3;
inline constexpr absl::Duration kSendRetryDelay = absl::Milliseconds(20);

class Sharer {
 public:
  Sharer(btrfs::Filesystem& fs, PhaseGate& gate, Counters& counters, const Steps& steps)
      : fs_(fs), gate_(gate), counters_(counters), steps_(steps) {}

  // Shares [offset, offset + length) of `source` with each target. verdicts[i] stays kFreed when
  // all of it was shared.
  std::vector<Verdict> share(btrfs::File& source, std::uint64_t offset, std::uint64_t length,
                             std::span<const btrfs::DedupeTarget> targets);

 private:
  struct Pending {
    std::size_t target = 0;
    std::uint64_t done = 0;
    int retries = 0;
  };
  void share_piece(btrfs::File& source, std::uint64_t offset, std::uint64_t length,
                   std::span<const btrfs::DedupeTarget> targets, std::vector<Verdict>& verdicts);
  // One call. Returns the targets that are to be asked again.
  std::vector<Pending> call(btrfs::File& source, std::uint64_t offset, std::uint64_t length,
                            std::span<const btrfs::DedupeTarget> targets,
                            std::span<const Pending> pending, std::vector<Verdict>& verdicts);

  btrfs::Filesystem& fs_;
  PhaseGate& gate_;
  Counters& counters_;
  const Steps& steps_;
};

}  // namespace skep::dedupe
