// SPDX-License-Identifier: MIT
//
// Tells what the daemon does: status.json each second while something happens, metrics beside it,
// and a line for the service manager. Thread-compatible.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "skep/btrfs/descriptor.h"
#include "skep/btrfs/types.h"
#include "skep/service/progress.h"
#include "skep/service/refusal.h"
#include "skep/service/status.h"
#include "skep/service/throttle.h"
#include "worker.h"

namespace skep::service {

class Reporter {
 public:
  Reporter(const std::string& version, const btrfs::Uuid& filesystem, const Progress& progress);

  // Takes the instance's lock. Empty: the default folder, or no metrics.
  Refusal open(const std::string& run_dir, const std::string& metrics_dir);
  void set_metrics_dir(const std::string& dir) { metrics_dir_ = dir; }

  struct Facts {
    std::string mount;  // empty: not mounted
    bool working = false, stopping = false;
    Hold hold;
    Worker::View view;
    std::uint64_t generation = 0;
    std::string failing;        // why the last piece of work failed; empty: it did not
    std::int64_t next_try = 0;  // seconds since 1970, while it fails
  };
  // Writes what has changed; the line says it in words.
  std::string report(const Facts& facts);
  // True when it is not the one that was noted last: it is worth a line in the log.
  bool note_error(const std::string& message);
  // The instance ends: its status goes.
  void close();

 private:
  using Clock = std::chrono::steady_clock;
  void describe_work(const Facts& facts);
  void describe_totals(const Worker::View& view);
  void measure_rates();
  void write();
  std::string line() const;

  const Progress& progress_;
  std::string run_dir_, metrics_dir_;
  btrfs::Descriptor lock_;
  Status status_;
  // What was written last, but for its time.
  std::string written_, in_metrics_;
  bool told_ = false;  // that writing fails

  Clock::time_point metrics_written_{}, rated_{};
  std::uint64_t rated_read_ = 0, rated_scanned_ = 0;
};

}  // namespace skep::service
