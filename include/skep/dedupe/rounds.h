// SPDX-License-Identifier: MIT
//
// What `skep run` does with an engine: rounds of passes until one frees nothing more. A
// round covers what was written since the one before it began: a quick pass over everything first,
// so that most space is back early, then the deep passes over what has to be read. The first round
// covers the generations since the last run, each further one mostly skep's own copies; there are
// at most limits::kPasses. A daemon calls follow() instead, again and again. Thread-compatible.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <atomic>
#include <cstdint>
#include <functional>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/counters.h"
#include "skep/dedupe/crawl.h"
#include "skep/dedupe/engine.h"
#include "skep/dedupe/types.h"
#include "skep/index/table.h"

namespace skep::dedupe {

// How far the work is: what a checkpoint stores. All extents up to generation `done` have been
// looked at, and all that have to be read up to `deep`; when `unfinished`, a pass over `window` has
// reached `cursor`.
struct Position {
  std::uint64_t done_generation = 0;
  std::uint64_t deep_generation = 0;
  std::uint64_t table_generation = 0;     // the table has seen all extents up to it
  std::uint64_t contents_generation = 0;  // the same, of those that have to be read
  bool nodatasum = false;                 // those without checksums are among these
  bool unfinished = false;
  PassKind kind = PassKind::kQuick;
  Window window;
  Cursor cursor;
};

class Rounds {
 public:
  struct Parts {
    btrfs::Filesystem& fs;
    const index::Fingerprinter& fingerprinter;
    index::Table& table;
    Counters& counters;
    Options options;
    const std::atomic<bool>& stop;
    Pace* pace = nullptr;  // null: never held up
  };
  struct Hooks {
    // The position went on; to be stored when it is time to.
    std::function<void()> advanced = [] {};
    // So many bytes more to look at.
    std::function<void(std::uint64_t)> more_work = [](std::uint64_t) {};
    // A pass begins.
    std::function<void()> pass_begins = [] {};
  };
  // `position` is borrowed, and kept up to date.
  Rounds(const Parts& parts, Position& position, Hooks hooks);

  // CANCELLED when `stop` became true, RESOURCE_EXHAUSTED when space ran out; any other error is
  // one of the kernel's. The position is good in each case.
  absl::Status run();
  // For who stays: looks at what was committed up to generation `to`, and commits nothing that was
  // not its own. True when the position went on. Errors as run().
  absl::StatusOr<bool> follow(std::uint64_t to);

 private:
  bool stopped();
  absl::Status prepare();
  bool deepened() const;
  void forget_what_was_done_differently();
  absl::Status refill();
  absl::Status take_census();
  absl::Status round();
  void begin(PassKind kind, Window window);
  absl::Status pass();
  absl::Status quick();
  absl::Status read_contents();
  absl::Status deep(PassKind kind);

  const Parts p_;
  Position& position_;
  const Hooks hooks_;
  Engine engine_;
  Census census_;
  bool prepared_ = false;
};

}  // namespace skep::dedupe
