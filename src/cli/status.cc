// SPDX-License-Identifier: MIT
#include "status.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <ctime>

#include "output.h"
#include "skep/service/exit_status.h"
#include "skep/service/instances.h"
#include "status_text.h"
#include "stop_signals.h"

namespace skep::cli {
namespace {

constexpr char kNone[] = "no skep is running";

std::string place(const StatusCommand& command) {
  return command.run_dir.empty() ? service::default_run_base() : command.run_dir;
}

int show_once(const StatusCommand& command) {
  const auto instances = service::find_instances(command.name, command.run_dir);
  if (instances.refusal.exit_status != 0) {
    return fail(instances.refusal.exit_status, instances.refusal.message);
  }
  int exit_status = service::kExitDone;
  for (const auto& message : instances.unreadable)
    exit_status = fail(service::kExitFailed, message);
  if (instances.found.empty() && instances.unreadable.empty()) {
    exit_status = fail(service::kExitFailed, fmt::format("{}: {}", place(command), kNone));
  }
  if (instances.found.empty() && !command.json) return exit_status;
  return print(command.json ? instances_json(instances, false)
                            : instances_text(instances, isatty(STDOUT_FILENO) == 1),
               exit_status);
}

// As many lines as there are; elsewhere than on a terminal each status follows the one before.
std::string screen(const StatusCommand& command, const service::Instances& instances,
                   bool terminal) {
  if (command.json) return instances_json(instances, true);
  std::string text;
  for (const auto& message : instances.unreadable) text += message + "\n";
  text += instances_text(instances, terminal);
  if (instances.refusal.exit_status != 0) text += instances.refusal.message + "\n";
  if (text.empty()) text = fmt::format("{}: {}\n", place(command), kNone);
  if (!terminal) return text + "\n";
  // Line by line over what is there: clearing it all first would flicker.
  std::string out = "\033[H";
  for (const char c : text) out += c == '\n' ? std::string("\033[K\n") : std::string(1, c);
  return out + "\033[J";
}

int watch(const StatusCommand& command) {
  const std::atomic<bool>& stop_asked = stop_on_signals();
  const bool terminal = isatty(STDOUT_FILENO) == 1 && !command.json;
  if (terminal) fmt::print("\033[2J");
  while (!stop_asked) {
    const auto instances = service::find_instances(command.name, command.run_dir);
    // A skep that is not there may come; a wrong name stays wrong.
    if (instances.refusal.exit_status > service::kExitFailed) {
      return fail(instances.refusal.exit_status, instances.refusal.message);
    }
    if (!command.json || instances.refusal.exit_status == 0) {
      const int exit_status = print(screen(command, instances, terminal), service::kExitDone);
      if (exit_status != service::kExitDone) return exit_status;
    }
    const timespec second{1, 0};
    if (!stop_asked) nanosleep(&second, nullptr);
  }
  return service::kExitDone;
}

}  // namespace

int show_status(const StatusCommand& command) {
  return command.watch ? watch(command) : show_once(command);
}

}  // namespace skep::cli
