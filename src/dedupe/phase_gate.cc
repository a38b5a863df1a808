// SPDX-License-Identifier: MIT
#include "skep/dedupe/phase_gate.h"

namespace skep::dedupe {

// Called with the mutex held, by absl::Condition.
bool PhaseGate::may_enter(Wanted* wanted) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  const int other = 1 - wanted->phase;
  return wanted->gate->inside_[other] == 0 &&
         wanted->gate->waiting_since_[other] > wanted->gate->waiting_since_[wanted->phase];
}

void PhaseGate::enter(Phase phase) {
  absl::MutexLock lock(&mutex_);
  Wanted wanted{this, phase};
  if (waiting_[phase]++ == 0) waiting_since_[phase] = tickets_++;
  mutex_.Await(absl::Condition(&PhaseGate::may_enter, &wanted));
  if (--waiting_[phase] == 0) waiting_since_[phase] = kNobody;
  ++inside_[phase];
}

void PhaseGate::leave(Phase phase) {
  absl::MutexLock lock(&mutex_);
  --inside_[phase];
}

}  // namespace skep::dedupe
