// SPDX-License-Identifier: MIT
#include "notify.h"

#include <fmt/format.h>
#include <systemd/sd-daemon.h>
#include <time.h>

namespace skep::service {
namespace {

// Type=notify-reload, and systemd since 253, want to know when the reload began.
std::uint64_t monotonic_micros() {
  struct timespec now {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec) / 1000;
}

}  // namespace

Notifier::Notifier() {
  std::uint64_t micros = 0;
  if (sd_watchdog_enabled(0, &micros) > 0) watchdog_ = std::chrono::microseconds(micros);
}

void Notifier::ready() { sd_notify(0, "READY=1"); }

void Notifier::reloading() {
  sd_notify(0, fmt::format("RELOADING=1\nMONOTONIC_USEC={}", monotonic_micros()).c_str());
}

void Notifier::stopping() { sd_notify(0, "STOPPING=1\nSTATUS=Stopping"); }

void Notifier::status(const std::string& text) {
  if (text == status_) return;
  status_ = text;
  sd_notify(0, ("STATUS=" + text).c_str());
}

void Notifier::alive(std::uint64_t mark, bool working) {
  if (watchdog_.count() == 0 || Clock::now() - fed_ < watchdog_ / 4) return;
  if (working && mark == mark_) return;
  mark_ = mark;
  fed_ = Clock::now();
  sd_notify(0, "WATCHDOG=1");
}

}  // namespace skep::service
