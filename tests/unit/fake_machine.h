// SPDX-License-Identifier: MIT
//
// What a throttle looks at, with a clock that only moves when somebody waits. Things happen at
// their time, in the middle of a wait, as other threads would do them. Thread-safe but for `at`.
#pragma once

#include <absl/synchronization/mutex.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <string>

#include "skep/service/throttle.h"

namespace skep::testing {

class FakeMachine {
 public:
  using Nanos = std::chrono::nanoseconds;

  std::atomic<bool> on_mains = true, has_pressure = true;
  std::atomic<double> load = 0;
  std::array<std::atomic<double>, 3> stalls{};  // percent, by index_of
  std::atomic<int> waits = 0, pressure_reads = 0;
  std::chrono::seconds begin = std::chrono::hours(12);  // local time of day when the clock is at 0
  static constexpr std::int64_t kDay = 20000;           // the local day then

  Nanos elapsed() const { return Nanos(elapsed_.load()); }
  double seconds() const { return std::chrono::duration<double>(elapsed()).count(); }
  // Time that goes by without anybody waiting, as in a batch.
  void pass(Nanos time) { move_to(elapsed() + time); }
  // `what` happens so long after the clock's begin.
  void at(Nanos time, std::function<void()> what) { events_.emplace(time, std::move(what)); }

  service::ThrottleSources sources();

 private:
  void move_to(Nanos time);
  service::LocalTime local_time() const;
  std::string pressure(service::Resource resource);
  void wait(absl::Mutex& mutex, Nanos time) ABSL_NO_THREAD_SAFETY_ANALYSIS;

  std::atomic<std::int64_t> elapsed_ = 0;
  std::array<std::atomic<double>, 3> stalled_micros_{};
  std::multimap<Nanos, std::function<void()>> events_;
};

inline service::ThrottleSources FakeMachine::sources() {
  service::ThrottleSources out;
  // Not at the clock's epoch, where values that were never set would be.
  out.now = [this] {
    return std::chrono::steady_clock::time_point(std::chrono::hours(100) + elapsed());
  };
  out.local_time = [this] { return local_time(); };
  out.pressure = [this](service::Resource resource) { return pressure(resource); };
  out.load = [this] { return load.load(); };
  out.on_mains = [this] { return on_mains.load(); };
  out.wait = [this](absl::CondVar&, absl::Mutex& mutex, Nanos time) { wait(mutex, time); };
  return out;
}

inline void FakeMachine::move_to(Nanos time) {
  const Nanos step = time - elapsed();
  for (std::size_t i = 0; i < stalls.size(); ++i) {
    stalled_micros_[i] = stalled_micros_[i] + static_cast<double>(step.count()) * stalls[i] / 1e5;
  }
  elapsed_ += step.count();
}

inline service::LocalTime FakeMachine::local_time() const {
  const auto now = begin + std::chrono::duration_cast<std::chrono::seconds>(elapsed());
  return {kDay + now / std::chrono::hours(24), now % std::chrono::hours(24)};
}

inline std::string FakeMachine::pressure(service::Resource resource) {
  ++pressure_reads;
  if (!has_pressure) return "";
  const double total = stalled_micros_[service::index_of(resource)];
  return fmt::format(
      "some avg10=1.00 avg60=2.00 avg300=3.00 total={:.0f}\n"
      "full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
      total);
}

inline void FakeMachine::wait(absl::Mutex& mutex, Nanos time) {
  ++waits;
  const Nanos until = elapsed() + time;
  mutex.Unlock();
  if (!events_.empty() && events_.begin()->first <= until) {
    // What happens may end the wait, so it goes no further.
    auto event = events_.extract(events_.begin());
    move_to(std::max(event.key(), elapsed()));
    event.mapped()();
  } else {
    move_to(until);
  }
  mutex.Lock();
}

}  // namespace skep::testing
