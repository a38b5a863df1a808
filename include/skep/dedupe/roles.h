// SPDX-License-Identifier: MIT
//
// Who stays and who goes. The stages work ahead of each other, so what one has decided must hold
// for those behind it: nothing is shared with an extent that is planned to go, and no extent goes
// while a plan that shares with it is under way.
//
// Thread-safe. Invariant: no address is going and pinned at once.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <absl/synchronization/mutex.h>

#include <cstdint>
#include <vector>

#include "skep/dedupe/types.h"

namespace skep::dedupe {

class Roles {
 public:
  // The extent is planned to go, until it is verified to be gone or kept after all. False for a
  // keeper, which it may have become since somebody asked: plans pin some of their own.
  [[nodiscard]] bool set_going(std::uint64_t address) ABSL_LOCKS_EXCLUDED(mutex_);
  void clear_going(std::uint64_t address) ABSL_LOCKS_EXCLUDED(mutex_);
  bool going(std::uint64_t address) const ABSL_LOCKS_EXCLUDED(mutex_);

  // Pins a keeper unless it is going (then false). Each pin wants an unpin.
  bool pin(std::uint64_t address) ABSL_LOCKS_EXCLUDED(mutex_);
  // The keeper gets references: it is remembered as one until forget_keepers() (bounded: the oldest
  // half of the memory goes first).
  void remember(std::uint64_t address) ABSL_LOCKS_EXCLUDED(mutex_);
  void unpin(std::uint64_t address) ABSL_LOCKS_EXCLUDED(mutex_);
  bool is_keeper(std::uint64_t address) const ABSL_LOCKS_EXCLUDED(mutex_);
  bool pinned(std::uint64_t address) const ABSL_LOCKS_EXCLUDED(mutex_);

  // A transaction was committed: keepers may become victims again, but for the pinned ones. Until
  // then neither the extent tree nor LOGICAL_INO (both show what is committed) names the references
  // that a keeper got.
  void forget_keepers() ABSL_LOCKS_EXCLUDED(mutex_);

  // To be looked at once more after the next commit; `why` it is left where that comes to nothing.
  // Bounded: what does not fit stays as it is. False when it did not fit.
  bool defer(std::uint64_t address, std::uint64_t length, Verdict why = Verdict::kKeeper)
      ABSL_LOCKS_EXCLUDED(mutex_);
  struct Deferred {
    std::uint64_t address = 0, length = 0;
    Verdict why = Verdict::kKeeper;
  };
  // By ascending address; empties the list.
  std::vector<Deferred> take_deferred() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  bool keeps(std::uint64_t address) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  absl::flat_hash_set<std::uint64_t> going_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::uint64_t, std::uint32_t> pins_ ABSL_GUARDED_BY(mutex_);
  // Two generations of memory: when `recent_` is full it becomes `older_`.
  absl::flat_hash_set<std::uint64_t> recent_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<std::uint64_t> older_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::uint64_t, Deferred> deferred_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace skep::dedupe
