// SPDX-License-Identifier: MIT
#include "skep/service/throttle.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <stdlib.h>

#include <algorithm>
#include <utility>

#include "skep/dedupe/limits.h"
#include "skep/service/sizes.h"
#include "stop_every.h"

namespace skep::service {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// How often the clock on the wall, the power supplies and the load are looked at.
constexpr auto kLookAgain = seconds(1);
// What a batch may do without a look whether to go on, and 20 ms of reading where a disk is slow.
// Larger pieces are read faster, but all that others ask for meanwhile waits for them.
constexpr std::uint64_t kGentleStepBytes = 2ULL << 20;
// A wait from which on files are worth closing.
constexpr auto kLongWait = seconds(1);
// Longer than the engine takes from a batch to the next one, unless it has nothing to do.
constexpr auto kSlowFor = seconds(10);
// One that is about at the limit would otherwise go to and fro.
constexpr double kLoadedUntil = 0.9;

Hold hold_of_rate(const char* word, const char* what, std::uint64_t rate) {
  return {word, fmt::format("{} at the limit of {} a second", what, format_size(rate)), true};
}

Hold hold_of_budget(const char* word, const char* done, std::uint64_t bytes, std::uint64_t limit) {
  return {word,
          fmt::format("{} {} today of {}, goes on at midnight", done, format_size(bytes),
                      format_size(limit)),
          false};
}

}  // namespace

double load_average() {
  double load = 0;
  return getloadavg(&load, 1) == 1 ? load : 0;
}

Throttle::Throttle(const ThrottleSettings& settings, const dedupe::Counters& counters,
                   DailyUse used, ThrottleSources sources)
    : counters_(counters), sources_(std::move(sources)), used_(used) {
  absl::MutexLock lock(&mutex_);
  accounted_ = since_accounted();
  apply(settings);
}

void Throttle::set_on_hold(std::function<void()> hook) {
  absl::MutexLock lock(&mutex_);
  on_hold_ = std::move(hook);
}

// Settings and other words from outside

void Throttle::set(const ThrottleSettings& settings) {
  absl::MutexLock lock(&mutex_);
  apply(settings);
  wake();
}

void Throttle::apply(const ThrottleSettings& settings) {
  account();  // what was done so far goes by the rates so far
  settings_ = settings;
  const TimePoint now = sources_.now();
  reads_.set_rate(settings.read_bytes_per_second, now);
  writes_.set_rate(settings.write_bytes_per_second, now);
  watch_pressure();
  if (!watches_pressure()) {
    rest_ = PressureRest();
    by_pressure_ = Hold();
  }
  by_rate_ = Hold();
  limited_ = watches_pressure() || settings.read_bytes_per_second > 0 ||
             settings.write_bytes_per_second > 0 || settings.read_bytes_per_day > 0 ||
             settings.write_bytes_per_day > 0 || settings.load_average > 0 ||
             !settings.hours.empty() || settings.ac_power_only;
  machine_.loaded = false;
  machine_ = look_at_machine();
  machine_read_ = now;
}

void Throttle::watch_pressure() {
  pressure_limit_ = {settings_.io_pressure_percent, settings_.cpu_pressure_percent,
                     settings_.memory_pressure_percent};
  for (const Resource resource : kResources) {
    double& limit = pressure_limit_[index_of(resource)];
    if (limit <= 0 || parse_stall_total(sources_.pressure(resource))) continue;
    limit = 0;
    if (!std::exchange(warned_, true)) {
      spdlog::warn("/proc/pressure/{}: cannot be read; limits on pressure have no effect",
                   name_of(resource));
    }
  }
}

bool Throttle::watches_pressure() const {
  return std::any_of(pressure_limit_.begin(), pressure_limit_.end(),
                     [](double limit) { return limit > 0; });
}

void Throttle::wake() {
  ++changes_;
  changed_.SignalAll();
}

void Throttle::pause() {
  absl::MutexLock lock(&mutex_);
  if (!std::exchange(paused_, true)) wake();
}

void Throttle::resume() {
  absl::MutexLock lock(&mutex_);
  if (std::exchange(paused_, false)) wake();
}

void Throttle::hold_externally(const std::string& word, const std::string& text) {
  absl::MutexLock lock(&mutex_);
  if (external_.insert_or_assign(word, text).second) wake();
}

void Throttle::release_externally(const std::string& word) {
  absl::MutexLock lock(&mutex_);
  if (external_.erase(word) == 0) return;
  step_began_ = sources_.now();  // to wait is no work
  wake();
}

// Batches

bool Throttle::runs_freely() const { return !limited_ && !paused_ && external_.empty(); }

void Throttle::before_batch(const Stop& stop) {
  absl::MutexLock lock(&mutex_);
  if (runs_freely()) return let_go();
  ++waiting_;
  if (wait_for_batches(stop)) {
    choosing_ = true;
    if (hold_back(Where::kBeforeBatch, stop)) let_go();
    choosing_ = false;
    changed_.SignalAll();
  }
  --waiting_;
}

void Throttle::let_go() {
  ++under_way_;
  step_began_ = sources_.now();
}

void Throttle::note_work() {
  const TimePoint now = sources_.now();
  rest_.worked(now - step_began_);
  step_began_ = now;
}

void Throttle::between_steps(const Stop& stop) {
  absl::MutexLock lock(&mutex_);
  // Of several batches, which began before there was a limit, one looks for all.
  while (choosing_ && !runs_freely() && !stop()) sources_.wait(changed_, mutex_, kStopEvery);
  if (runs_freely() || choosing_) return;
  note_work();
  choosing_ = true;
  hold_back(Where::kWithinBatch, stop);
  choosing_ = false;
  step_began_ = sources_.now();
  changed_.SignalAll();
}

std::uint64_t Throttle::step_bytes() const {
  absl::MutexLock lock(&mutex_);
  return limited_ ? kGentleStepBytes : dedupe::limits::kShareBytes;
}

void Throttle::batch_done() {
  absl::MutexLock lock(&mutex_);
  account();
  // Below none when `stop` ended its before_batch.
  under_way_ = std::max(0, under_way_ - 1);
  ended_ = sources_.now();
  note_work();
  changed_.SignalAll();
}

bool Throttle::wait_for_batches(const Stop& stop) {
  while (choosing_ || (under_way_ > 0 && !runs_freely())) {
    if (stop()) return false;
    sources_.wait(changed_, mutex_, kStopEvery);
  }
  return true;
}

bool Throttle::hold_back(Where where, const Stop& stop) {
  bool told = false, rested = false;
  const auto tell = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!std::exchange(told, true)) call_on_hold();
  };
  account();
  by_rate_ = Hold();
  while (!stop()) {
    refresh_machine();
    if (!held(machine_, where).word.empty()) {
      tell();
      wait(kLookAgain, stop);
    } else if (const Duration debt = rate_wait(); debt > Duration::zero()) {
      if (debt >= kLongWait) tell();
      wait(std::min<Duration>(debt, kLookAgain), stop);
    } else if (!rested && watches_pressure() && rest_.due() > Duration::zero()) {
      rested = rest(tell, stop);
    } else {
      return true;
    }
  }
  return false;
}

bool Throttle::wait(Duration time, const Stop& stop) {
  const TimePoint until = sources_.now() + time;
  const std::uint64_t before = changes_;
  while (changes_ == before && !stop()) {
    const Duration left = until - sources_.now();
    if (left <= Duration::zero()) return true;
    sources_.wait(changed_, mutex_, std::min<Duration>(left, kStopEvery));
  }
  return false;
}

bool Throttle::rest(absl::FunctionRef<void()> tell, const Stop& stop) {
  for (Duration time = rest_.due(); time > Duration::zero();) {
    if (time >= kLongWait) tell();
    const PressureLook look(sources_.pressure, sources_.now());
    if (!wait(time, stop)) return false;
    time = rest_.looked(time, judge(look.percent(sources_.now())));
  }
  return true;
}

void Throttle::call_on_hold() {
  if (!on_hold_) return;
  const auto hook = on_hold_;
  mutex_.Unlock();
  hook();
  mutex_.Lock();
}

// What the limits say

bool Throttle::judge(const std::array<double, kResources.size()>& percent) {
  // The one that is furthest beyond its limit.
  double worst = 0;
  Resource which = Resource::kIo;
  for (const Resource resource : kResources) {
    const double limit = pressure_limit_[index_of(resource)];
    if (limit <= 0 || percent[index_of(resource)] / limit < worst) continue;
    worst = percent[index_of(resource)] / limit;
    which = resource;
  }
  by_pressure_ = Hold();
  if (worst <= 1) return false;
  by_pressure_ = {fmt::format("{}_pressure", name_of(which)),
                  fmt::format("{} pressure of others {:.0f} %, limit {:.0f} %", name_of(which),
                              percent[index_of(which)], pressure_limit_[index_of(which)]),
                  true};
  return true;
}

Throttle::Duration Throttle::rate_wait() {
  const TimePoint now = sources_.now();
  const Duration reads = reads_.wait(now), writes = writes_.wait(now);
  if (reads == Duration::zero() && writes == Duration::zero()) return Duration::zero();
  by_rate_ = reads >= writes
                 ? hold_of_rate("read_rate", "reads", settings_.read_bytes_per_second)
                 : hold_of_rate("write_rate", "writes", settings_.write_bytes_per_second);
  return std::max(reads, writes);
}

Throttle::Machine Throttle::look_at_machine() const {
  Machine out;
  if (settings_.ac_power_only) out.on_mains = sources_.on_mains();
  if (settings_.load_average > 0) {
    out.load = sources_.load();
    out.loaded = out.load > settings_.load_average * (machine_.loaded ? kLoadedUntil : 1);
  }
  return out;
}

void Throttle::refresh_machine() {
  const TimePoint now = sources_.now();
  if (now - machine_read_ < kLookAgain) return;
  machine_ = look_at_machine();
  machine_read_ = now;
}

Hold Throttle::held(const Machine& machine, Where where) const {
  if (paused_) return {"paused", "paused", false};
  if (where == Where::kBeforeBatch && !external_.empty()) {
    const auto& [word, text] = *external_.begin();
    return {word, text, false};
  }
  const seconds now = sources_.local_time().since_midnight;
  if (!within(settings_.hours, now)) {
    return {"hours",
            fmt::format("outside its hours, goes on at {}", next_begin(settings_.hours, now)),
            false};
  }
  if (!machine.on_mains) return {"battery", "on battery, goes on with mains power", false};
  if (Hold budget = over_budget(); !budget.word.empty()) return budget;
  if (machine.loaded) {
    return {"load",
            fmt::format("load average {:.2f}, limit {:.2f}, goes on below {:.2f}", machine.load,
                        settings_.load_average, settings_.load_average * kLoadedUntil),
            false};
  }
  return {};
}

Hold Throttle::over_budget() const {
  const DailyUse use = use_so_far();
  const std::uint64_t read = settings_.read_bytes_per_day, write = settings_.write_bytes_per_day;
  if (read > 0 && use.read >= read) return hold_of_budget("read_budget", "read", use.read, read);
  if (write > 0 && use.written >= write) {
    return hold_of_budget("write_budget", "written", use.written, write);
  }
  return {};
}

Hold Throttle::hold() const {
  absl::MutexLock lock(&mutex_);
  if (Hold why = held(look_at_machine(), Where::kBeforeBatch); !why.word.empty()) return why;
  const bool works = waiting_ > 0 || under_way_ > 0 || sources_.now() - ended_ < kSlowFor;
  if (!works) return {};
  return by_pressure_.word.empty() ? by_rate_ : by_pressure_;
}

// Traffic

Traffic Throttle::since_accounted() const {
  return {counters_.bytes_read_asked - accounted_.read,
          counters_.bytes_copied - accounted_.written};
}

DailyUse Throttle::use_so_far() const {
  return used_.with(since_accounted(), sources_.local_time().day);
}

void Throttle::account() {
  const Traffic more = since_accounted();
  const TimePoint now = sources_.now();
  used_ = used_.with(more, sources_.local_time().day);
  accounted_ = {accounted_.read + more.read, accounted_.written + more.written};
  reads_.spend(more.read, now);
  writes_.spend(more.written, now);
}

DailyUse Throttle::daily_use() const {
  absl::MutexLock lock(&mutex_);
  return use_so_far();
}

}  // namespace skep::service
