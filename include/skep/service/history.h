// SPDX-License-Identifier: MIT
//
// What became of a filesystem over the time: `history.json` in the state directory
// (man/skep-state.5), written whole to a new file and renamed. A row when a look at everything
// begins, when a run ends, and now and then while an instance stays. For reports; nothing else
// depends on it. Plain values; the functions are thread-compatible, one writer to a directory.
//
// Bounded: a row has some 500 bytes, 1,500 at most, and there are kMostRows at most. When there
// are more, they are thinned out: of an hour, later of a day, a week and four weeks, the last one
// stays. The first row always stays.
#pragma once

#include <absl/status/statusor.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "skep/btrfs/types.h"
#include "skep/dedupe/counters.h"
#include "skep/dedupe/size_classes.h"
#include "skep/dedupe/types.h"
#include "skep/service/state_dir.h"

namespace skep::service {

struct LeftAlone {
  std::uint64_t extents = 0, bytes = 0;
  bool operator==(const LeftAlone&) const = default;
};
// By Verdict; kFreed stays 0.
using LeftByVerdict = std::array<LeftAlone, static_cast<std::size_t>(dedupe::Verdict::kCount)>;
LeftByVerdict left_by_verdict(const dedupe::Counters& counters);

struct HistoryRow {
  std::int64_t time = 0;  // seconds since 1970
  Totals totals;
  std::uint64_t data_used = 0;               // bytes of the filesystem, each once
  LeftByVerdict left{};                      // since everything was last looked at anew
  std::optional<dedupe::SizeClasses> sizes;  // of all extents; not counted for each row
};

using History = std::vector<HistoryRow>;  // by time

inline constexpr std::size_t kMostHistoryRows = 400;

// Empty where there is none. DATA_LOSS when it is damaged, of another version or another
// filesystem; an errno_status when it cannot be read.
absl::StatusOr<History> read_history(const std::string& state_dir, const btrfs::Uuid& filesystem);

// Thins it out, too. The time of a row is never before that of the one before it: clocks are set.
void add_row(History& history, HistoryRow row);

absl::Status write_history(const std::string& state_dir, const btrfs::Uuid& filesystem,
                           const History& history);

}  // namespace skep::service
