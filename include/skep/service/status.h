// SPDX-License-Identifier: MIT
//
// What a running instance tells of itself: /run/skep/UUID/status.json, written whole to a new file
// and renamed, so a reader sees the old or the new one. man/skep-status.1 documents the schema.
// Beside it lies `lock`, which the instance holds as long as it lives (flock(2)): a status whose
// lock is free was left by one that was killed. Plain values; the functions are thread-compatible,
// and one thread at a time writes to a directory.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "skep/btrfs/descriptor.h"
#include "skep/btrfs/types.h"

namespace skep::service {

// Since ever, or since the instance started. Bytes but for the first.
struct StatusTotals {
  std::uint64_t extents_scanned = 0;
  std::uint64_t scanned = 0;  // length of extents looked at
  std::uint64_t shared = 0;   // blocks of extents that went which are stored elsewhere
  std::uint64_t freed = 0;    // verified, less what was copied
  std::uint64_t copied = 0;
  std::uint64_t read = 0;
};

struct Status {
  std::string filesystem;  // UUID
  std::string mount;       // empty while it is not mounted
  std::string version;
  std::int64_t pid = 0;
  std::int64_t started = 0, written = 0;  // seconds since 1970
  // "starting", "idle" (everything is looked at), "working", "held" (see hold), "failing" (see
  // last_error), "unmounted", "stopping"
  std::string phase;
  std::string pass;     // of "working": quick, content_scan, deep_plain, deep_read; else empty
  double progress = 0;  // of the present pass, 0 to 1; never backwards within it
  std::uint64_t work_done = 0, work_total = 0;  // bytes of extents
  std::optional<double> seconds_left;
  double read_rate = 0, scan_rate = 0;  // bytes a second, lately
  // Why it waits or is slow: "" (it does not), "paused", "io_pressure", "cpu_pressure",
  // "memory_pressure", "load", "hours", "battery", "read_rate", "write_rate", "read_budget",
  // "write_budget", "metadata_space", "read_only", "other_instance", "turn"
  std::string hold;
  std::string hold_text;  // the same in words, with the figures
  bool slowed = false;    // it works, with rests
  StatusTotals since_start, since_ever;
  std::uint64_t generation = 0, done_generation = 0, deep_generation = 0;
  std::uint64_t table_bytes = 0, table_cells = 0, table_capacity = 0;
  std::uint32_t table_level = 0;
  std::string last_error;
  std::int64_t last_error_time = 0;
  std::int64_t next_try = 0;  // seconds since 1970, of "failing"; else 0
};

// It waits, or was paused.
bool is_held(const Status& status);

// As the file holds it: one JSON object and a newline. Numbers that are none become 0.
std::string status_json(const Status& status);
// INVALID_ARGUMENT for what is no status, or one of a later version of the format. Fields that are
// missing keep their defaults, but for filesystem and phase.
absl::StatusOr<Status> parse_status(std::string_view json);

// /run/skep, with a directory for each filesystem.
std::string default_run_base();
// /run/skep/UUID
std::string default_run_dir(const btrfs::Uuid& filesystem);

// Not flushed: /run is gone after a crash anyway.
absl::Status write_status(const std::string& run_dir, const Status& status);
// An errno_status with ENOENT when there is none; INVALID_ARGUMENT when it is damaged.
absl::StatusOr<Status> read_status(const std::string& run_dir);

// Makes the directory when it is missing. The lock lasts as long as the descriptor lives, and ends
// with the process however that ends. FAILED_PRECONDITION when another instance holds it, after
// half a second.
absl::StatusOr<btrfs::Descriptor> lock_run_dir(const std::string& run_dir);
// Whether somebody holds the lock. Who may not ask the lock (it is root's, lest others could keep
// skep from starting) is told whether the process of the status is a skep.
bool is_running(const std::string& run_dir);

// Whether a process of this number is there and is called skep.
bool is_skep(std::int64_t pid);

}  // namespace skep::service
