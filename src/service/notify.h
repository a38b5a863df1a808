// SPDX-License-Identifier: MIT
//
// What a service manager is told (sd_notify(3)); nothing where there is none. Thread-compatible.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace skep::service {

class Notifier {
 public:
  Notifier();
  void ready();
  void reloading();
  void stopping();
  // A line for `systemctl status`; told when it has changed.
  void status(const std::string& text);
  // Feeds the watchdog, at most as often as is needed. `mark` has to differ from the last one that
  // was fed, unless nothing is to be done: who hangs while working does not feed it.
  void alive(std::uint64_t mark, bool working);

 private:
  using Clock = std::chrono::steady_clock;
  std::chrono::microseconds watchdog_{0};  // 0: none
  Clock::time_point fed_{};
  std::uint64_t mark_ = 0;
  std::string status_;
};

}  // namespace skep::service
