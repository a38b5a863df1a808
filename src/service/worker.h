// SPDX-License-Identifier: MIT
//
// Works through what is committed and not yet looked at, in a thread of its own. A piece of work
// opens a session, and closes it when nothing is left: between pieces nothing of the filesystem is
// open.
//
// Thread-safe: begin, stop and take are for one thread, the others for any.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "recorder.h"
#include "skep/btrfs/descriptor.h"
#include "skep/dedupe/pace.h"
#include "skep/service/generation_watch.h"
#include "skep/service/progress.h"
#include "skep/service/session.h"
#include "skep/service/settings.h"
#include "skep/service/state_dir.h"

namespace skep::service {

class Worker {
 public:
  enum class End { kCaughtUp, kStopped, kBusy, kRefused, kFailed };
  struct Result {
    End end = End::kCaughtUp;
    std::string message;  // for the last three
    int exit_status = 0;  // of a refusal
  };
  // All borrowed, for the worker's life. `watch` is the worker's while a piece of work goes on.
  Worker(Progress& progress, dedupe::Pace& pace, GenerationWatch& watch,
         std::function<DailyUse()> today);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void begin(std::string target, const Settings& settings);
  bool working() const { return thread_.joinable(); }
  // Readable when a piece of work has ended, and its result is to be taken.
  int fd() const { return ended_.get(); }
  bool ended() const ABSL_LOCKS_EXCLUDED(mutex_);
  Result take();
  // Ends the piece of work early; what is under way is finished. Waits for it.
  Result stop();

  // Writes the checkpoint if something happened since it was last written, and, unless `at_once`,
  // that was longer ago than the interval. Not while working.
  absl::Status save(bool at_once, std::chrono::seconds interval);
  // It has opened the filesystem and its state, at least once.
  bool has_opened() const { return has_opened_; }
  // It is time to look once more at what was left for later. Not while working.
  bool left_is_due() const;

  struct View {
    dedupe::Position position;
    index::Table::Usage table;
    std::uint64_t table_bytes = 0;
    Totals totals;
  };
  View view() const ABSL_LOCKS_EXCLUDED(mutex_);
  // The filesystem that is open: null between pieces of work. For the pace, in the worker's
  // threads.
  btrfs::KernelFilesystem* filesystem() { return session_.filesystem.get(); }

 private:
  using Clock = std::chrono::steady_clock;
  Result work();
  Result follow(dedupe::Rounds& rounds);
  void adopt_checkpoint();
  bool checkpoint_is_due() const;
  void advanced();
  // What a send was in the way of, and what is to be retried.
  bool anything_left() const;
  void put_off_left();
  absl::Status write_checkpoint();
  Recorder::Now now();
  void publish() ABSL_LOCKS_EXCLUDED(mutex_);
  std::uint64_t happened() const;

  Progress& progress_;
  dedupe::Pace& pace_;
  GenerationWatch& watch_;
  const std::function<DailyUse()> today_;  // what was read and written of it
  std::string target_;
  Settings settings_;
  Session session_;
  std::optional<StateDir> state_;  // outlives the session
  std::optional<Recorder> recorder_;
  Checkpoint checkpoint_;
  Totals before_;       // less what this process has done
  bool begun_ = false;  // a session was open before
  Clock::time_point saved_{};
  std::uint64_t happened_then_ = 0;
  bool never_saved_ = true;
  Clock::time_point left_next_{};
  std::chrono::seconds left_wait_{};

  btrfs::Descriptor ended_;
  std::atomic<bool> stop_ = false, has_opened_ = false;
  std::thread thread_;
  mutable absl::Mutex mutex_;
  std::optional<Result> result_ ABSL_GUARDED_BY(mutex_);
  View view_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace skep::service
