// SPDX-License-Identifier: MIT
//
// What `skep run` does with an engine: rounds of passes until one frees nothing more. A
// round covers what was written since the one before it began: a quick pass over everything first,
// so that most space is back early, then the deep passes over what has to be read. The first round
// covers the generations since the last run, each further one mostly skep's own copies; there are
// at most limits::kPasses. A daemon calls follow() instead, again and again; during a long round it
// turns aside now and then to what was written meanwhile. Thread-compatible.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/counters.h"
#include "skep/dedupe/crawl.h"
#include "skep/dedupe/engine.h"
#include "skep/dedupe/filter_options.h"
#include "skep/dedupe/types.h"
#include "skep/index/table.h"

namespace skep::dedupe {

// How far the work is: what a checkpoint stores. All extents up to generation `done` have been
// looked at, and all that have to be read up to `deep`; when `unfinished`, a pass over `window` has
// reached `cursor`, and what is newer than the window, up to `recent`, has been looked at as well.
struct Position {
  std::uint64_t done_generation = 0;
  std::uint64_t deep_generation = 0;
  std::uint64_t table_generation = 0;     // the table has seen all extents up to it
  std::uint64_t contents_generation = 0;  // the same, of those that have to be read
  std::uint64_t recent_generation = 0;
  bool nodatasum = false;  // those without checksums are among these
  FilterOptions filter;    // what it excludes is not
  // Of the extents after this generation some were left because a send held their subvolume: they
  // are to be looked at once more.
  std::optional<std::uint64_t> busy_after;
  // Extents that could not be shared when they were looked at, because of something that passes;
  // and how often they were looked at again. limits::kRetries at most.
  struct Retry {
    std::uint64_t address = 0;
    std::uint32_t tries = 0;
    bool operator==(const Retry&) const = default;
  };
  std::vector<Retry> retries;
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
    // How often a round that follows asks for what is new.
    std::chrono::nanoseconds ask_every = std::chrono::seconds(15);
  };
  struct Hooks {
    // The position went on; to be stored when it is time to.
    std::function<void()> advanced = [] {};
    // A part of the work begins: "scan", or the name of a PassKind, which stays. With the bytes of
    // extents that it looks at; 0: not known.
    std::function<void(std::string_view, std::uint64_t)> begins = [](std::string_view,
                                                                     std::uint64_t) {};
    // So many bytes more for it to look at.
    std::function<void(std::uint64_t)> more_work = [](std::uint64_t) {};
    // The newest generation that is committed; 0: not known. Asked in follow() alone, from one
    // thread at a time.
    std::function<std::uint64_t()> newest = [] { return std::uint64_t{0}; };
    // A round is about to look at all extents anew, which are these; of the lengths that the filter
    // leaves, at least.
    std::function<void(const Census&)> begins_anew = [](const Census&) {};
    // True when advanced() is about to store the position: what it stands for is committed before.
    // Asked after each batch.
    std::function<bool()> stores_soon = [] { return false; };
  };
  // `position` is borrowed, and kept up to date.
  Rounds(const Parts& parts, Position& position, Hooks hooks);

  // CANCELLED when `stop` became true, RESOURCE_EXHAUSTED when space ran out; any other error is
  // one of the kernel's. The position is good in each case.
  absl::Status run();
  // For who stays: looks at what was committed up to generation `to`, and commits nothing that was
  // not its own. True when the position went on. Errors as run().
  absl::StatusOr<bool> follow(std::uint64_t to);
  // Fills the table with all that is committed now, and looks at nothing else: the next round finds
  // its fingerprints there. With fingerprints of the data it reads that, as the round would have
  // begun with, which then goes on behind it. Errors as run().
  absl::Status fill_table();
  // The next round looks at what was busy, too; not before a pass has ended that is under way. What
  // is to be retried is looked at again at the end of follow(). run() does both by itself.
  void take_up_left();
  // Passes that were begun.
  int passes() const { return passes_; }

 private:
  bool stopped();
  bool interrupted() const { return p_.stop || turns_aside_; }
  void ask_for_news();
  absl::Status look_at_news();
  absl::Status look_at_late(Window window);
  absl::StatusOr<Census> scan_window(Window window);
  void note_busy(std::uint64_t after);
  void note_retries();
  absl::Status look_again();
  void advanced();
  absl::Status prepare();
  bool deepened() const;
  void forget_what_was_done_differently();
  void note_lost_table();
  absl::Status refill();
  absl::StatusOr<std::uint64_t> commit();
  absl::Status index_up_to(std::uint64_t to);
  absl::Status read_up_to(std::uint64_t to);
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
  std::uint64_t in_table_ = 0;  // what is not newer needs not be scanned for the table
  // What follow() turns aside for. Asked for in whichever thread settles, one at a time.
  bool follows_ = false;
  std::atomic<bool> turns_aside_ = false;
  std::uint64_t newest_ = 0;
  std::chrono::steady_clock::time_point ask_at_{};
  std::uint64_t busy_seen_;
  bool looks_again_ = false;
  int passes_ = 0;
};

}  // namespace skep::dedupe
