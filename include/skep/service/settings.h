// SPDX-License-Identifier: MIT
//
// What one instance of skep is told to do: defaults, then the configuration files, then the command
// line, each over the one before. Plain values; no thread rules.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "skep/dedupe/types.h"
#include "skep/index/fingerprint.h"

namespace skep::service {

// Local time of day; one that ends before it begins goes over midnight.
struct Hours {
  std::chrono::minutes begin{}, end{};  // since midnight; equal: the whole day
  bool operator==(const Hours&) const = default;
};

// When skep holds back. 0 and empty mean no limit.
struct ThrottleSettings {
  // Others' stalls on io, cpu and memory (PSI, "some", percent of time) above which skep rests
  // longer between batches. 0: never looked at.
  double io_pressure_percent = 0;
  double cpu_pressure_percent = 0;
  double memory_pressure_percent = 0;
  std::uint64_t read_bytes_per_second = 0;
  std::uint64_t write_bytes_per_second = 0;
  std::uint64_t read_bytes_per_day = 0;
  std::uint64_t write_bytes_per_day = 0;
  double load_average = 0;     // of one minute; above it skep waits
  std::vector<Hours> hours{};  // skep works in them only
  bool ac_power_only = false;
};

struct Settings {
  // Read when an instance starts.
  std::string state_dir;               // empty: StateDir::default_path
  std::string run_dir;                 // empty: /run/skep/UUID
  std::uint64_t table_size_bytes = 0;  // 0: as the filesystem's data asks for
  index::FingerprintKind fingerprint = index::FingerprintKind::kCsum;
  dedupe::Options engine;
  bool lock_memory = false;    // mlock(2) of everything
  bool one_at_a_time = false;  // waits while another such instance works
  // Read again on SIGHUP.
  ThrottleSettings throttle;
  // Kept free for metadata; below it skep waits. 0: a hundredth of the devices, 16 to 256 MiB.
  std::uint64_t metadata_reserve_bytes = 0;
  std::chrono::seconds checkpoint_interval{120};
  std::string metrics_dir;  // node exporter's textfile directory; empty: no metrics
};

}  // namespace skep::service
