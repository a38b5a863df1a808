// SPDX-License-Identifier: MIT
#include "progress_line.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "skep/service/sizes.h"

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
  const auto begin = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  const auto every =
      terminal_ ? std::chrono::nanoseconds(kTerminalEvery) : std::chrono::nanoseconds(kLogEvery);
  while (!ended_changed_.wait_for(lock, every, [this] { return ended_; })) {
    show(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
}

void ProgressLine::show(double seconds) {
  const std::uint64_t total = progress_.total_bytes;
  const std::uint64_t done = std::min<std::uint64_t>(progress_.counters.bytes_progress, total);
  const double share = total == 0 ? 0 : static_cast<double>(done) / static_cast<double>(total);
  best_percent_ = std::max(best_percent_, share * 100);
  std::string text =
      fmt::format("{:3.0f} %  {} of {}  {} {}", best_percent_, format_size(done),
                  format_size(total), format_size(progress_.counters.freed_bytes()), gained_);
  if (seconds > kLeastSeconds && done != 0) {
    const double rate = static_cast<double>(done) / seconds;
    text += fmt::format("  {}/s  {} left", format_size(static_cast<std::uint64_t>(rate)),
                        format_duration(static_cast<double>(total - done) / rate));
  }
  if (terminal_) {
    fmt::print(stderr, "\r{}\033[K", text);
    std::fflush(stderr);
  } else {
    spdlog::info("{}", text);
  }
}

}  // namespace skep::cli
