// SPDX-License-Identifier: MIT
#include "stop_signals.h"

#include <csignal>

namespace skep::cli {
namespace {

std::atomic<bool> stop_asked = false;
static_assert(std::atomic<bool>::is_always_lock_free, "set by a signal handler");

}  // namespace

const std::atomic<bool>& stop_on_signals(InterruptedCalls calls) {
  struct sigaction action {};
  action.sa_handler = [](int) { stop_asked = true; };
  if (calls == InterruptedCalls::kGoOn) action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  return stop_asked;
}

}  // namespace skep::cli
