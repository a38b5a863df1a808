// SPDX-License-Identifier: MIT
#include "estimate.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <optional>

#include "estimate_text.h"
#include "output.h"
#include "progress_line.h"
#include "skep/btrfs/status.h"
#include "skep/service/exit_status.h"
#include "skep/service/tune.h"
#include "stop_signals.h"

namespace skep::cli {
namespace {

// What both commands do with their answer.
template <typename Result, typename Look, typename Show>
int look_and_show(const LookCommand& command, Look look, Show show) {
  if (command.quiet) spdlog::set_level(spdlog::level::err);
  const std::atomic<bool>& stop = stop_on_signals();
  service::Progress progress;
  Result result;
  {
    std::optional<ProgressLine> line;
    if (!command.quiet) line.emplace(progress, "to be freed");
    result = look(command.options, progress, stop);
  }
  if (result.refusal.exit_status != 0) {
    return fail(result.refusal.exit_status, result.refusal.message);
  }
  if (absl::IsCancelled(result.status)) {
    return fail(service::kExitStopped, fmt::format("{}: stopped by a signal; nothing was changed",
                                                   command.options.target));
  }
  if (!result.status.ok()) return fail(service::kExitFailed, message_of(result.status));
  return print(show(result), service::kExitDone);
}

bool on_terminal() { return isatty(STDOUT_FILENO) == 1; }

}  // namespace

int estimate(const LookCommand& command) {
  return look_and_show<service::EstimateResult>(
      command, service::estimate, [&](const service::EstimateResult& result) {
        const std::string& mount = command.options.target;
        return command.json ? estimate_json(mount, result.found)
                            : estimate_text(mount, result.found, on_terminal());
      });
}

int tune(const LookCommand& command) {
  return look_and_show<service::TuneResult>(
      command, service::tune, [&](const service::TuneResult& result) {
        const std::string& mount = command.options.target;
        return command.json ? tune_json(mount, result.found)
                            : tune_text(mount, result.found, on_terminal());
      });
}

}  // namespace skep::cli
