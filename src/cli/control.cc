// SPDX-License-Identifier: MIT
#include "control.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <limits>
#include <thread>
#include <utility>
#include <vector>

#include "output.h"
#include "skep/service/exit_status.h"
#include "skep/service/instances.h"
#include "text.h"

namespace skep::cli {
namespace {

using Action = ControlCommand::Action;
using Clock = std::chrono::steady_clock;
using service::Instance;

// An instance looks at its signals, and writes its status, within a second.
constexpr auto kPatience = std::chrono::seconds(2);
constexpr auto kPause = std::chrono::milliseconds(20);

std::string title(const Instance& instance) {
  const auto& status = instance.status;
  if (status.mount.empty()) return status.filesystem;
  return fmt::format("{} ({})", printable(status.mount), status.filesystem);
}

int refuse(const Instance& instance, int exit_status, const std::string& why) {
  return fail(exit_status, fmt::format("{}: {}", title(instance), why));
}

// The signal would end any other program.
bool may_be_signalled(const Instance& instance) {
  return service::is_skep(instance.status.pid) &&
         instance.status.pid <= std::numeric_limits<pid_t>::max() &&
         service::is_running(instance.run_dir);
}

// Returns an exit status.
int send(const Instance& instance, Action action) {
  if (!may_be_signalled(instance)) {
    return refuse(
        instance, service::kExitFailed,
        fmt::format("process {} is no skep any more, or is out of sight", instance.status.pid));
  }
  const auto pid = static_cast<pid_t>(instance.status.pid);
  if (kill(pid, action == Action::kPause ? SIGUSR1 : SIGUSR2) == 0) return service::kExitDone;
  if (errno == EPERM) {
    return refuse(instance, service::kExitUnsupported,
                  fmt::format("no permission to signal process {}; run as root", pid));
  }
  return refuse(instance, service::kExitFailed,
                fmt::format("kill {}: {}", pid, std::strerror(errno)));
}

bool shows(const service::Status& status, Action action) {
  return (status.hold == "paused") == (action == Action::kPause);
}

// Returns an exit status.
int await(const Instance& instance, Action action, Clock::time_point deadline) {
  do {
    const auto status = service::read_status(instance.run_dir);
    if (status.ok() && shows(*status, action)) {
      return print(
          fmt::format("{}: {}\n", title(instance), action == Action::kPause ? "paused" : "goes on"),
          service::kExitDone);
    }
    if (!service::is_running(instance.run_dir)) {
      return refuse(instance, service::kExitFailed, "it has ended");
    }
    std::this_thread::sleep_for(kPause);
  } while (Clock::now() < deadline);
  return refuse(instance, service::kExitFailed,
                fmt::format("it was told, but does not say that it {} after {} s",
                            action == Action::kPause ? "pauses" : "goes on", kPatience.count()));
}

// Signals those that run, all before any is waited for. The first of both is an exit status.
std::pair<int, std::vector<const Instance*>> send_all(const service::Instances& instances,
                                                      Action action) {
  int exit_status = service::kExitDone;
  std::vector<const Instance*> told;
  for (const auto& instance : instances.found) {
    if (!instance.running) continue;
    if (const int failed = send(instance, action); failed != 0) {
      exit_status = failed;
    } else {
      told.push_back(&instance);
    }
  }
  return {exit_status, std::move(told)};
}

bool any_running(const service::Instances& instances) {
  return std::any_of(instances.found.begin(), instances.found.end(),
                     [](const Instance& instance) { return instance.running; });
}

int fail_without_any(const ControlCommand& command, const service::Instances& instances) {
  constexpr char kNone[] = "no skep is running";
  if (instances.one) return refuse(instances.found.front(), service::kExitFailed, kNone);
  const auto place = command.run_dir.empty() ? service::default_run_base() : command.run_dir;
  return fail(service::kExitFailed, fmt::format("{}: {}", place, kNone));
}

}  // namespace

int control(const ControlCommand& command) {
  const auto instances = service::find_instances(command.name, command.run_dir);
  if (instances.refusal.exit_status != 0) {
    return fail(instances.refusal.exit_status, instances.refusal.message);
  }
  int unreadable = service::kExitDone;
  for (const auto& message : instances.unreadable) unreadable = fail(service::kExitFailed, message);
  if (!any_running(instances)) {
    return unreadable != 0 ? unreadable : fail_without_any(command, instances);
  }
  auto [exit_status, told] = send_all(instances, command.action);
  if (exit_status == 0) exit_status = unreadable;
  const auto deadline = Clock::now() + kPatience;
  for (const auto* instance : told) {
    if (const int failed = await(*instance, command.action, deadline); failed != 0) {
      exit_status = failed;
    }
  }
  return exit_status;
}

}  // namespace skep::cli
