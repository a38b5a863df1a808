// SPDX-License-Identifier: MIT
#include "run.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

#include "progress_line.h"
#include "scan_summary.h"
#include "skep/btrfs/status.h"
#include "skep/service/daemon.h"
#include "skep/service/exit_status.h"
#include "stop_signals.h"
#include "summary.h"

namespace skep::cli {
namespace {

// The table is mapped: where its page cannot be read, or a changed one cannot be given room, the
// kernel sends a signal. Nothing is lost by ending, as after a crash.
void on_bus_error(int) {
  constexpr std::string_view kText =
      "skep: the table can not be written or read, its filesystem is full or damaged; "
      "make room, or choose another --state-dir\n";
  (void)!write(STDERR_FILENO, kText.data(), kText.size());
  _exit(service::kExitFailed);
}

void install_bus_error_handler() {
  struct sigaction action {};
  action.sa_handler = on_bus_error;
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace

namespace {

int run_once(const RunCommand& command) {
  const std::atomic<bool>& stop = stop_on_signals();
  service::Progress progress;
  service::RunResult result;
  {
    std::optional<ProgressLine> line;
    if (!command.quiet) line.emplace(progress);
    result = service::run_once(command.options, progress, stop);
  }
  if (result.refusal.exit_status != 0) {
    spdlog::error("{}", result.refusal.message);
    return result.refusal.exit_status;
  }
  const std::string& mount = command.options.target;
  const bool scan_only = command.options.scan_only;
  const auto text = command.json ? (scan_only ? scan_json : summary_json)
                                 : (scan_only ? scan_text : summary_text);
  fmt::print("{}", text(mount, result.summary, progress.counters));
  if (std::fflush(stdout) != 0) {
    spdlog::error("writing the summary: {}", std::strerror(errno));
    return service::kExitFailed;
  }
  if (command.verbose) {
    progress.counters.for_each(
        [](std::string_view name, std::uint64_t value) { spdlog::debug("{} {}", name, value); });
  }
  if (!result.status.ok()) {
    spdlog::error("{}", message_of(result.status));
    return service::kExitFailed;
  }
  return result.summary.result == service::Result::kDone ? service::kExitDone
                                                         : service::kExitStopped;
}

int run_daemon(const RunCommand& command, const ReadSettings& settings) {
  service::Progress progress;
  const auto refusal = service::run_daemon(
      {command.options.target, command.options.settings, settings, SKEP_VERSION}, progress);
  if (!refusal.message.empty()) spdlog::error("{}", refusal.message);
  return refusal.exit_status;
}

}  // namespace

int run(const RunCommand& command, const ReadSettings& settings) {
  spdlog::set_level(command.quiet     ? spdlog::level::err
                    : command.verbose ? spdlog::level::debug
                                      : spdlog::level::info);
  install_bus_error_handler();
  return command.once ? run_once(command) : run_daemon(command, settings);
}

}  // namespace skep::cli
