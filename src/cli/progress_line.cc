// SPDX-License-Identifier: MIT
#include "progress_line.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>

#include "skep/service/sizes.h"
#include "status_text.h"

namespace skep::cli {
namespace {

using service::format_duration;
using service::format_size;
constexpr auto kTerminalEvery = std::chrono::milliseconds(200);
constexpr auto kLogEvery = std::chrono::seconds(30);
// A rate from less than this says nothing about the time left.
constexpr double kLeastSeconds = 1;

}  // namespace

ProgressLine::ProgressLine(const service::Progress& progress, std::string_view gained)
    : progress_(progress),
      gained_(gained),
      terminal_(isatty(STDERR_FILENO) == 1),
      thread_([this] { run(); }) {}

ProgressLine::~ProgressLine() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  ended_changed_.notify_all();
  thread_.join();
  if (terminal_) fmt::print(stderr, "\r\033[K");
}

void ProgressLine::run() {
  std::unique_lock lock(mutex_);
  const auto every =
      terminal_ ? std::chrono::nanoseconds(kTerminalEvery) : std::chrono::nanoseconds(kLogEvery);
  while (!ended_changed_.wait_for(lock, every, [this] { return ended_; })) show();
}

void ProgressLine::show() {
  const auto now = progress_.now();
  if (now.part.empty()) return;
  const std::string text = progress_text(now, progress_.counters.freed_bytes(), gained_);
  if (terminal_) {
    fmt::print(stderr, "\r{}\033[K", text);
    std::fflush(stderr);
  } else {
    spdlog::info("{}", text);
  }
}

std::string progress_text(const service::Progress::Now& now, std::uint64_t freed_bytes,
                          std::string_view gained) {
  std::string text = part_in_words(now.part) + ": ";
  if (now.total_bytes == 0) {
    text += format_duration(now.seconds);
  } else {
    text += fmt::format("{:.0f} %, {} of {}", std::floor(now.share * 100),
                        format_size(now.done_bytes), format_size(now.total_bytes));
  }
  if (const auto left = now.seconds_left(); left && now.seconds > kLeastSeconds) {
    const double rate = static_cast<double>(now.done_bytes) / now.seconds;
    text += fmt::format(", {}/s, {} left", format_size(static_cast<std::uint64_t>(rate)),
                        format_duration(*left));
  }
  return text + fmt::format("; {} {}", format_size(freed_bytes), gained);
}

}  // namespace skep::cli
