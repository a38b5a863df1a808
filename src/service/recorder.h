// SPDX-License-Identifier: MIT
//
// Keeps the history of a filesystem while it is worked on. What goes wrong with the history is
// logged, and is no failure of the work. Thread-compatible.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/counters.h"
#include "skep/dedupe/size_classes.h"
#include "skep/service/history.h"
#include "skep/service/state_dir.h"

namespace skep::service {

class Recorder {
 public:
  // The counters are those of the process, and borrowed.
  Recorder(std::string state_dir, const btrfs::Uuid& filesystem, const dedupe::Counters& counters)
      : state_dir_(std::move(state_dir)), filesystem_(filesystem), counters_(counters) {}

  // Where the work is, for one row. `stop`: whether there is no time to count extents.
  struct Now {
    btrfs::Filesystem& fs;
    Totals totals;
    std::function<bool()> stop;
  };
  // Everything is looked at anew from here on. `sizes`: of all extents, where they are known.
  void begin_anew(const Now& now, const std::optional<dedupe::SizeClasses>& sizes);
  // A run has ended, early or not.
  void run_ended(const Now& now);
  // For who stays, now and then: a row when the last one is an hour old and something has changed
  // that is worth one. When all is looked at, also at the end of a look at everything.
  void note(const Now& now, bool caught_up);

 private:
  using Clock = std::chrono::steady_clock;
  bool due(const Totals& totals, bool caught_up);
  bool wants_sizes(const History& history) const;
  std::optional<History> load();
  void add(const Now& now, std::optional<dedupe::SizeClasses> sizes, bool anew);
  void complain(const absl::Status& status);

  const std::string state_dir_;
  const btrfs::Uuid filesystem_;
  const dedupe::Counters& counters_;
  LeftByVerdict told_{};  // of the counters, what the history has
  bool looks_at_all_ = false;
  std::optional<HistoryRow> last_;  // the newest row, once it was read
  Clock::time_point added_{};       // when this process has added one
  std::string complaint_;           // each is made once
};

}  // namespace skep::service
