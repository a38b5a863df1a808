// SPDX-License-Identifier: MIT
//
// Holds the engine back: while somebody or something says "wait" (the user, the daemon, the hour,
// the battery, a day's budget, the load), and by rests between batches and between the steps of one
// (rates, pressure of others).
//
// With no limit set batches run freely, as many at once as the engine likes. With any limit there
// is one batch at a time, each let go when the one before it is done: what a rest is to show, and
// what a batch has cost, can be told only when no other one is under way. In that case the engine
// must be able to finish a batch without being given the next one.
//
// Before a batch, in this order:
//  1. wait for the batches before it;
//  2. wait while held: paused, external reasons, hours, battery, budgets, load;
//  3. pay the debt of the token buckets (traffic.h);
//  4. rest as others' pressure asks for, and look at it meanwhile (pressure_rest.h).
// Between steps 2 to 4 once more, but for what the daemon finds: a batch that has begun is let
// finish before the filesystem is left alone.
//
// Thread-safe. What it waits for takes effect at once when it is told (set, pause, ...), within
// 200 ms when it is `stop`, and within about a second when it is read from the machine.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/functional/function_ref.h>
#include <absl/synchronization/mutex.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "skep/dedupe/counters.h"
#include "skep/dedupe/pace.h"
#include "skep/service/local_time.h"
#include "skep/service/power.h"
#include "skep/service/pressure.h"
#include "skep/service/pressure_rest.h"
#include "skep/service/settings.h"
#include "skep/service/traffic.h"

namespace skep::service {

// Why skep waits or is slow: see Status. All empty when it does not.
struct Hold {
  std::string word, text;
  bool slowed = false;  // it works, with rests
  bool operator==(const Hold&) const = default;
};

// The load average of one minute; 0 when the kernel does not tell.
double load_average();

// Where the throttle looks. Each must be thread-safe and must not call the throttle, whose lock it
// is called under; `wait` alone lets go of it.
struct ThrottleSources {
  std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
  std::function<LocalTime()> local_time = local_time_now;
  std::function<std::string(Resource)> pressure = read_pressure;  // text of the file, or empty
  std::function<double()> load = load_average;
  std::function<bool()> on_mains = [] { return service::on_mains(); };
  // Releases the mutex, waits for a signal or so long, and takes the mutex again.
  std::function<void(absl::CondVar&, absl::Mutex&, std::chrono::nanoseconds)> wait =
      [](absl::CondVar& changed, absl::Mutex& mutex, std::chrono::nanoseconds time) {
        changed.WaitWithTimeout(&mutex, absl::FromChrono(time));
      };
};

class Throttle final : public dedupe::Pace {
 public:
  // `used` is what was kept of the day before a restart. `counters` (bytes_read_asked,
  // bytes_copied) must outlive the throttle.
  Throttle(const ThrottleSettings& settings, const dedupe::Counters& counters, DailyUse used = {},
           ThrottleSources sources = {});

  // Called without the lock when a wait begins that will be longer than a second or so: the time to
  // let go of open files. Once a wait. Set before the first batch.
  void set_on_hold(std::function<void()> hook) ABSL_LOCKS_EXCLUDED(mutex_);

  // `stop` must not call the throttle. A batch that is let go has one batch_done; for one that
  // returned because of `stop` it may be called or not.
  void before_batch(const std::function<bool()>& stop) override ABSL_LOCKS_EXCLUDED(mutex_);
  void batch_done() override ABSL_LOCKS_EXCLUDED(mutex_);
  void between_steps(const std::function<bool()>& stop) override ABSL_LOCKS_EXCLUDED(mutex_);
  std::uint64_t step_bytes() const override ABSL_LOCKS_EXCLUDED(mutex_);

  void set(const ThrottleSettings& settings) ABSL_LOCKS_EXCLUDED(mutex_);
  void pause() ABSL_LOCKS_EXCLUDED(mutex_);
  void resume() ABSL_LOCKS_EXCLUDED(mutex_);
  // Reasons that the daemon finds, by their word in Status; several may hold at once. Again with
  // the same word changes its text.
  void hold_externally(const std::string& word, const std::string& text)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void release_externally(const std::string& word) ABSL_LOCKS_EXCLUDED(mutex_);

  // At this moment, also while no batch is asked for. Being slow is forgotten some seconds after
  // the last batch.
  Hold hold() const ABSL_LOCKS_EXCLUDED(mutex_);
  DailyUse daily_use() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  using Stop = std::function<bool()>;
  using Duration = std::chrono::steady_clock::duration;
  using TimePoint = std::chrono::steady_clock::time_point;
  // What takes more than a moment to read, or has a memory.
  struct Machine {
    bool on_mains = true;
    double load = 0;
    bool loaded = false;  // was above the limit, and not yet clearly below it
  };

  void apply(const ThrottleSettings& settings) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void watch_pressure() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool watches_pressure() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  bool runs_freely() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void let_go() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void wake() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // False when `stop` said so.
  bool wait_for_batches(const Stop& stop) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  enum class Where { kBeforeBatch, kWithinBatch };
  bool hold_back(Where where, const Stop& stop) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void note_work() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // True when the whole time went by.
  bool wait(Duration time, const Stop& stop) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool rest(absl::FunctionRef<void()> tell, const Stop& stop) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void call_on_hold() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void account() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  DailyUse use_so_far() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  Traffic since_accounted() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  Machine look_at_machine() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void refresh_machine() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Hold held(const Machine& machine, Where where) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  Hold over_budget() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  Duration rate_wait() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // True when others are over a limit.
  bool judge(const std::array<double, kResources.size()>& percent)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const dedupe::Counters& counters_;
  const ThrottleSources sources_;

  mutable absl::Mutex mutex_;
  absl::CondVar changed_;  // anything that somebody waits for
  ThrottleSettings settings_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> on_hold_ ABSL_GUARDED_BY(mutex_);
  bool paused_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, std::string> external_ ABSL_GUARDED_BY(mutex_);  // word to text
  // Grows when waits are to look again at what they wait for.
  std::uint64_t changes_ ABSL_GUARDED_BY(mutex_) = 0;

  bool limited_ ABSL_GUARDED_BY(mutex_) = false;  // by anything in settings_
  // Percent, by index_of; 0: not looked at.
  std::array<double, kResources.size()> pressure_limit_ ABSL_GUARDED_BY(mutex_){};
  bool warned_ ABSL_GUARDED_BY(mutex_) = false;  // that there is no PSI

  bool choosing_ ABSL_GUARDED_BY(mutex_) = false;  // somebody is in hold_back
  int waiting_ ABSL_GUARDED_BY(mutex_) = 0;        // in before_batch
  int under_way_ ABSL_GUARDED_BY(mutex_) = 0;      // batches
  TimePoint step_began_ ABSL_GUARDED_BY(mutex_);   // of the work since the last rest
  TimePoint ended_ ABSL_GUARDED_BY(mutex_);

  Traffic accounted_ ABSL_GUARDED_BY(mutex_);  // of the counters, in all below
  DailyUse used_ ABSL_GUARDED_BY(mutex_);
  TokenBucket reads_ ABSL_GUARDED_BY(mutex_), writes_ ABSL_GUARDED_BY(mutex_);
  Machine machine_ ABSL_GUARDED_BY(mutex_);
  TimePoint machine_read_ ABSL_GUARDED_BY(mutex_);
  PressureRest rest_ ABSL_GUARDED_BY(mutex_);
  Hold by_rate_ ABSL_GUARDED_BY(mutex_), by_pressure_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace skep::service
