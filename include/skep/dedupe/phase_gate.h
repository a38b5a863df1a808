// SPDX-License-Identifier: MIT
//
// Keeps two phases apart: resolving (LOGICAL_INO) and sharing (FIDEDUPERANGE). On every kernel so
// far the two can loop for ever inside the kernel when they meet on an extent or inode. Any number
// of threads may be in one phase; none in the other. Fair: once a thread waits for the other phase,
// newcomers of the running one queue behind it; those that wait for one phase enter together.
// Thread-safe.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>

#include <cstdint>

namespace skep::dedupe {

class PhaseGate {
 public:
  enum Phase : int { kResolving = 0, kSharing = 1 };

  void enter(Phase phase) ABSL_LOCKS_EXCLUDED(mutex_);
  void leave(Phase phase) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Wanted {
    const PhaseGate* gate;
    Phase phase;
  };
  static bool may_enter(Wanted* wanted);

  absl::Mutex mutex_;
  int inside_[2] ABSL_GUARDED_BY(mutex_) = {0, 0};
  // Ticket of the first of those that wait for a phase; kNobody when none does.
  static constexpr std::uint64_t kNobody = ~0ULL;
  std::uint64_t waiting_since_[2] ABSL_GUARDED_BY(mutex_) = {kNobody, kNobody};
  int waiting_[2] ABSL_GUARDED_BY(mutex_) = {0, 0};
  std::uint64_t tickets_ ABSL_GUARDED_BY(mutex_) = 0;
};

// In the phase for its own lifetime.
class InPhase {
 public:
  InPhase(PhaseGate& gate, PhaseGate::Phase phase) : gate_(gate), phase_(phase) {
    gate_.enter(phase_);
  }
  ~InPhase() { gate_.leave(phase_); }
  InPhase(const InPhase&) = delete;
  InPhase& operator=(const InPhase&) = delete;

 private:
  PhaseGate& gate_;
  const PhaseGate::Phase phase_;
};

}  // namespace skep::dedupe
