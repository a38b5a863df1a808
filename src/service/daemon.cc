// SPDX-License-Identifier: MIT
#include "skep/service/daemon.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <iterator>
#include <optional>
#include <string>
#include <utility>

#include "notify.h"
#include "reporter.h"
#include "skep/btrfs/status.h"
#include "skep/service/config.h"
#include "skep/service/exit_status.h"
#include "skep/service/generation_watch.h"
#include "skep/service/mounts.h"
#include "skep/service/sizes.h"
#include "skep/service/throttle.h"
#include "skep/service/turn.h"
#include "space_guard.h"
#include "target.h"
#include "worker.h"

namespace skep::service {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr auto kWorkingTick = milliseconds(1000);
// Until it has started, as far as a service manager that waits for it knows.
constexpr auto kStartingTick = milliseconds(50);
// The mount table tells by itself when to go on; but the watchdog has to be fed.
constexpr auto kUnmountedTick = milliseconds(60'000);
// While nothing happens sysfs is looked at more and more seldom.
constexpr auto kFirstLook = milliseconds(1000), kLastLook = milliseconds(8000);
// After an error, and twice as long after the next.
constexpr auto kFirstRetry = std::chrono::seconds(10);
constexpr auto kLastRetry = std::chrono::seconds(3600);
constexpr auto kLogFreedEvery = std::chrono::seconds(60);

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};

btrfs::Descriptor take_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : kSignals) sigaddset(&set, number);
  if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return {};
  return btrfs::Descriptor(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

// What an earlier process of today has read and written. What else is wrong with the state is told
// once there is work.
DailyUse used_today(const Settings& settings, const btrfs::Uuid& filesystem) {
  const std::string path = state_path(settings, filesystem);
  // Not to be made here: it may lie on the filesystem, which need not be mounted.
  if (access(path.c_str(), F_OK) != 0) return {};
  const auto state = StateDir::open(path, filesystem);
  if (!state.ok()) return {};
  log_set_aside(*state);
  return state->checkpoint().today;
}

// The generation of the filesystem, for kernels whose sysfs does not name it.
std::optional<std::uint64_t> ask_generation(const btrfs::Uuid& filesystem) {
  const auto mount = mount_of(filesystem);
  if (!mount) return std::nullopt;
  const auto generation = btrfs::generation_at(mount->path);
  return generation.ok() ? std::optional(*generation) : std::nullopt;
}

GenerationWatch watch_of(const btrfs::Uuid& filesystem) {
  return GenerationWatch(filesystem, [filesystem] { return ask_generation(filesystem); });
}

class Daemon {
 public:
  Daemon(const DaemonOptions& options, const btrfs::Uuid& filesystem, Progress& progress)
      : options_(options),
        settings_(options.settings),
        filesystem_(filesystem),
        progress_(progress),
        throttle_(settings_.throttle, progress.counters, used_today(settings_, filesystem)),
        guard_(throttle_, [this]() -> btrfs::Filesystem* { return worker_.filesystem(); }),
        turn_(guard_, [this](bool waits) { tell_of_turn(waits); }),
        watch_(watch_of(filesystem)),
        worker_(progress, turn_, watch_, [this] { return throttle_.daily_use(); }),
        reporter_(options.version, filesystem, progress),
        signals_(take_signals()) {
    guard_.set_reserve(settings_.metadata_reserve_bytes);
    throttle_.set_on_hold([this] {
      turn_.give_back();
      if (auto* open = worker_.filesystem(); open != nullptr) open->let_go_of_files();
    });
  }
  Refusal run();

 private:
  void wait(milliseconds timeout);
  void handle_signals();
  void reload();
  void look_at_mounts();
  void look_at_generation();
  void begin_work();
  void conclude(const Worker::Result& result);
  void hold_until_retry(const Worker::Result& result);
  void fail_until_retry(const Worker::Result& result);
  void tell_started();
  void try_at_once();
  void end();
  void report();
  void tell_of_turn(bool waits);
  void log_freed();
  milliseconds timeout() const;

  const DaemonOptions& options_;
  Settings settings_;
  const btrfs::Uuid filesystem_;
  Progress& progress_;
  Throttle throttle_;
  SpaceGuard guard_;
  Turn turn_;
  GenerationWatch watch_;
  Worker worker_;
  Reporter reporter_;
  Notifier notifier_;
  MountWatch mounts_;
  const btrfs::Descriptor signals_;

  std::optional<Mount> mount_;
  bool started_ = false;       // the service manager was told so
  std::string failing_;        // why the last piece of work failed; empty: it did not
  std::int64_t next_try_ = 0;  // seconds since 1970, while it fails
  bool stopping_ = false;
  Refusal refusal_;
  std::optional<std::uint64_t> generation_;
  std::uint64_t caught_up_ = 0;  // the generation that was committed when the last work ended
  bool anything_left_ = true;
  milliseconds look_every_ = kFirstLook;
  std::chrono::seconds retry_after_ = kFirstRetry;
  Clock::time_point not_before_{};
  Clock::time_point logged_{};
  std::uint64_t logged_freed_ = 0;
};

void Daemon::wait(milliseconds timeout) {
  struct pollfd fds[] = {
      {signals_.get(), POLLIN, 0}, {mounts_.fd(), POLLPRI, 0}, {worker_.fd(), POLLIN, 0}};
  // MountWatch::changed() asks again: a change is told once to each poll().
  if (poll(fds, std::size(fds), static_cast<int>(timeout.count())) > 0 &&
      (fds[1].revents & (POLLPRI | POLLERR)) != 0) {
    mounts_.note_change();
  }
}

void Daemon::handle_signals() {
  struct signalfd_siginfo info {};
  while (read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    switch (static_cast<int>(info.ssi_signo)) {
      case SIGHUP:
        reload();
        break;
      case SIGUSR1:
        throttle_.pause();
        break;
      case SIGUSR2:
        throttle_.resume();
        break;
      default:
        stopping_ = true;
    }
  }
}

void Daemon::reload() {
  if (started_) notifier_.reloading();
  auto fresh = options_.reload ? options_.reload() : absl::StatusOr<Settings>(settings_);
  if (fresh.ok()) {
    take_reloadable(*fresh, settings_);
    throttle_.set(settings_.throttle);
    guard_.set_reserve(settings_.metadata_reserve_bytes);
    reporter_.set_metrics_dir(settings_.metrics_dir);
    try_at_once();
    spdlog::info("settings read again");
  } else {
    spdlog::error("{}; the settings stay as they were", message_of(fresh.status()));
  }
  if (started_) notifier_.ready();
}

// Something has changed that may have been in the way.
void Daemon::try_at_once() {
  not_before_ = {};
  retry_after_ = kFirstRetry;
}

void Daemon::look_at_mounts() {
  if (!mounts_.changed()) return;
  const bool was_mounted = mount_.has_value();
  mount_ = mount_of(filesystem_);
  if (mount_ && mount_->filesystem_read_only) {
    throttle_.hold_externally("read_only", fmt::format("{} is mounted read-only", mount_->path));
  } else {
    throttle_.release_externally("read_only");
  }
  if (mount_.has_value() == was_mounted) return;
  // What a session has open would keep the device busy; and the watch is the worker's meanwhile.
  if (worker_.working()) conclude(worker_.stop());
  try_at_once();
  watch_ = watch_of(filesystem_);  // mounted again, the kernel counts anew
  anything_left_ = true;
  look_every_ = kFirstLook;
  if (!mount_) spdlog::info("{} is not mounted; waiting", btrfs::to_string(filesystem_));
}

void Daemon::look_at_generation() {
  const auto seen = watch_.poll();
  if (seen != generation_) look_every_ = kFirstLook;
  generation_ = seen;
  if (seen && (*seen > caught_up_ || watch_.wants_sync())) anything_left_ = true;
  if (worker_.left_is_due()) anything_left_ = true;
}

void Daemon::begin_work() {
  if (!mount_ || mount_->filesystem_read_only || !anything_left_ || Clock::now() < not_before_)
    return;
  anything_left_ = false;
  throttle_.release_externally("other_instance");
  worker_.begin(btrfs::to_string(filesystem_), settings_);
}

// From the worker's threads.
void Daemon::tell_of_turn(bool waits) {
  if (waits) {
    throttle_.hold_externally("turn", "another filesystem is worked on first");
  } else {
    throttle_.release_externally("turn");
  }
}

void Daemon::conclude(const Worker::Result& result) {
  turn_.give_back();
  caught_up_ = worker_.view().position.done_generation;
  if (result.end == Worker::End::kCaughtUp) {
    retry_after_ = kFirstRetry;
    failing_.clear();
    log_freed();
    return;
  }
  anything_left_ = true;
  if (result.end != Worker::End::kStopped) hold_until_retry(result);
}

void Daemon::hold_until_retry(const Worker::Result& result) {
  if (!mount_of(filesystem_)) return;  // no wonder
  const bool refused = result.end == Worker::End::kRefused;
  if (result.end == Worker::End::kBusy) {
    throttle_.hold_externally("other_instance", result.message);
    tell_started();
    not_before_ = Clock::now() + kFirstRetry;
  } else if (!worker_.has_opened() || (refused && result.exit_status != kExitFailed)) {
    // What cannot even begin has not started, and what no time will mend, such as the call, ends.
    refusal_ = {refused ? result.exit_status : kExitFailed, result.message};
    stopping_ = true;
  } else {
    fail_until_retry(result);
  }
}

void Daemon::fail_until_retry(const Worker::Result& result) {
  failing_ = result.message;
  next_try_ = std::time(nullptr) + retry_after_.count();
  if (reporter_.note_error(failing_)) spdlog::error("{}", failing_);
  not_before_ = Clock::now() + retry_after_;
  retry_after_ = std::min<std::chrono::seconds>(retry_after_ * 2, kLastRetry);
}

void Daemon::tell_started() {
  if (!std::exchange(started_, true)) notifier_.ready();
}

void Daemon::log_freed() {
  const std::uint64_t freed = progress_.counters.freed_bytes();
  if (freed <= logged_freed_ || Clock::now() - logged_ < kLogFreedEvery) return;
  spdlog::info("freed {} ({} since ever)", format_size(freed - logged_freed_),
               format_size(worker_.view().totals.bytes_freed));
  logged_ = Clock::now();
  logged_freed_ = freed;
}

void Daemon::report() {
  Reporter::Facts facts;
  facts.mount = mount_ ? mount_->path : std::string();
  facts.working = worker_.working();
  facts.stopping = stopping_;
  facts.hold = throttle_.hold();
  facts.view = worker_.view();
  facts.generation = generation_.value_or(0);
  facts.failing = failing_;
  facts.next_try = next_try_;
  notifier_.status(reporter_.report(facts));
  const auto& counters = progress_.counters;
  const bool may_hang = worker_.working() && facts.hold.word.empty();
  notifier_.alive(counters.pages_scanned + counters.bytes_progress + counters.share_calls +
                      counters.bytes_read_asked + counters.fingerprints + 1,
                  may_hang);
}

milliseconds Daemon::timeout() const {
  if (worker_.working()) return started_ ? kWorkingTick : kStartingTick;
  if (!mount_) return kUnmountedTick;
  return look_every_;
}

Refusal Daemon::run() {
  if (auto refusal = reporter_.open(settings_.run_dir, settings_.metrics_dir);
      refusal.exit_status != 0) {
    return refusal;
  }
  if (settings_.lock_memory && mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0) {
    return {kExitFailed, "mlockall: not permitted; raise LimitMEMLOCK, or do not ask for it"};
  }
  if (settings_.one_at_a_time) {
    const std::string dir =
        settings_.run_dir.empty() ? default_run_dir(filesystem_) : settings_.run_dir;
    if (auto status = turn_.open(dir); !status.ok()) {
      return {kExitFailed, fmt::format("{}; without it instances cannot work one at a time",
                                       message_of(status))};
    }
  }
  look_at_mounts();
  if (!mount_) spdlog::info("{} is not mounted; waiting", btrfs::to_string(filesystem_));
  while (!stopping_) {
    if (!worker_.working() && mount_) {
      look_at_generation();
      begin_work();
    }
    // Who waits for the filesystem has started; who is to work on it has once it is open.
    if (!mount_ || mount_->filesystem_read_only || worker_.has_opened()) tell_started();
    report();
    const bool idle = !worker_.working();
    wait(timeout());
    handle_signals();
    look_at_mounts();
    if (worker_.working() && worker_.ended()) conclude(worker_.take());
    if (idle) {
      look_every_ = std::min(look_every_ + look_every_ / 2, milliseconds(kLastLook));
      if (auto status = worker_.save(false, settings_.checkpoint_interval); !status.ok()) {
        if (reporter_.note_error(std::string(message_of(status)))) {
          spdlog::error("{}", message_of(status));
        }
      }
    }
  }
  end();
  return refusal_;
}

void Daemon::end() {
  notifier_.stopping();
  report();
  if (worker_.working()) worker_.stop();
  if (auto status = worker_.save(true, {}); !status.ok()) {
    refusal_ = {kExitFailed, std::string(message_of(status))};
  }
  reporter_.close();
}

}  // namespace

Refusal run_daemon(const DaemonOptions& options, Progress& progress) {
  const auto named = filesystem_named(options.target);
  if (named.refusal.exit_status != 0 && subvolume_named(options.target) != 0) {
    return {kExitUsage, options.target +
                            ": a subvolume goes with --once; to follow one, name the "
                            "mount point, and the subvolume with --include-subvol"};
  }
  if (named.refusal.exit_status != 0) return named.refusal;
  return Daemon(options, named.filesystem, progress).run();
}

}  // namespace skep::service
