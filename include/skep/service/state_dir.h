// SPDX-License-Identifier: MIT
//
// The state directory of one filesystem: `table` and `state.json` (man/skep-state.5). The
// checkpoint is written whole to a new file and renamed, so a crash leaves the old or the new one.
// Thread-compatible.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>

#include "skep/btrfs/types.h"
#include "skep/dedupe/counters.h"
#include "skep/dedupe/rounds.h"
#include "skep/service/traffic.h"

namespace skep::service {

struct Totals {  // since ever
  std::uint64_t runs = 0;
  std::uint64_t bytes_freed = 0;  // verified, less copies
  std::uint64_t bytes_copied = 0;
  std::uint64_t extents_scanned = 0, bytes_scanned = 0;
  std::uint64_t bytes_shared = 0;  // of extents that went, what is stored elsewhere
  std::uint64_t bytes_read = 0;    // of data
};
// What a process has counted, on top of what was there before it began.
Totals sum(const Totals& before, const dedupe::Counters& counters);
// The reverse: what has to be there before for the sum to be `totals` now.
Totals difference(const Totals& totals, const dedupe::Counters& counters);

// What a later run needs to go on.
struct Checkpoint {
  dedupe::Position position;
  Totals totals;
  DailyUse today;
};

class StateDir {
 public:
  // /var/lib/skep/UUID
  static std::string default_path(const btrfs::Uuid& filesystem);
  // Creates the directory when it is missing. FAILED_PRECONDITION when a checkpoint in it belongs
  // to another filesystem.
  static absl::StatusOr<StateDir> open(std::string path, const btrfs::Uuid& filesystem);

  // Looks only: nothing is made or set aside. An errno_status with ENOENT when there is none;
  // FAILED_PRECONDITION as open(); DATA_LOSS when it is damaged or of another version.
  static absl::StatusOr<Checkpoint> peek(const std::string& path, const btrfs::Uuid& filesystem);

  std::string table_path() const { return path_ + "/table"; }
  const std::string& path() const { return path_; }
  // As found by open(); empty when there was none, or a damaged one, which is then set aside.
  const Checkpoint& checkpoint() const { return found_; }
  // What was wrong with a checkpoint that was set aside; empty when nothing was.
  const std::string& set_aside_reason() const { return set_aside_reason_; }
  absl::Status save(const Checkpoint& checkpoint) const;

 private:
  StateDir(std::string path, const btrfs::Uuid& filesystem)
      : path_(std::move(path)), filesystem_(filesystem) {}
  absl::Status load();

  std::string path_;
  btrfs::Uuid filesystem_;
  Checkpoint found_;
  std::string set_aside_reason_;
};

}  // namespace skep::service
