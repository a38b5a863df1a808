// SPDX-License-Identifier: MIT
#include "skep/service/instances.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "skep/btrfs/filesystem_uuid.h"
#include "skep/btrfs/status.h"
#include "skep/service/exit_status.h"
#include "target.h"

namespace skep::service {
namespace {

Instances no_instances(int exit_status, std::string message) {
  Instances out;
  out.refusal = {exit_status, std::move(message)};
  return out;
}

// Whether an instance has, or had, its status right in there.
bool is_run_dir(const std::string& path) {
  return access((path + "/status.json").c_str(), F_OK) == 0 ||
         access((path + "/lock").c_str(), F_OK) == 0;
}

absl::StatusOr<Instance> read_instance(const std::string& run_dir) {
  // In this order: one that starts in between is not shown as running with a status of its past.
  const bool running = is_running(run_dir);
  auto status = read_status(run_dir);
  if (!status.ok()) return status.status();
  return Instance{run_dir, *std::move(status), running};
}

Instances one_instance(const std::string& run_dir, const std::optional<btrfs::Uuid>& filesystem) {
  auto instance = read_instance(run_dir);
  if (errno_of(instance.status()) == ENOENT || errno_of(instance.status()) == ENOTDIR) {
    return no_instances(kExitFailed,
                        is_running(run_dir)
                            ? fmt::format("{}: skep has just started; ask again", run_dir)
                            : fmt::format("{}: no skep is running there", run_dir));
  }
  if (!instance.ok()) {
    return no_instances(errno_of(instance.status()) == EACCES ? kExitUnsupported : kExitFailed,
                        std::string(message_of(instance.status())));
  }
  if (filesystem && btrfs::parse_uuid(instance->status.filesystem) != filesystem) {
    return no_instances(kExitUsage, fmt::format("{}: belongs to filesystem {}", run_dir,
                                                instance->status.filesystem));
  }
  Instances out;
  out.one = true;
  out.found.push_back(*std::move(instance));
  return out;
}

Instances all_instances(const std::string& base, bool base_was_named) {
  std::vector<std::string> folders;
  std::error_code error;
  for (std::filesystem::directory_iterator i(base, error), end; !error && i != end;
       i.increment(error)) {
    if (is_run_dir(i->path().string())) folders.push_back(i->path().string());
  }
  // Without /run/skep there is no instance, which is no error.
  if (error && (base_was_named || error.value() != ENOENT)) {
    const bool denied = error.value() == EACCES;
    return no_instances(denied ? kExitUnsupported : kExitUsage,
                        fmt::format("{}: {}", base, std::strerror(error.value())));
  }
  std::sort(folders.begin(), folders.end());
  Instances out;
  for (const auto& folder : folders) {
    auto instance = read_instance(folder);
    if (instance.ok()) {
      out.found.push_back(*std::move(instance));
    } else if (errno_of(instance.status()) != ENOENT) {  // that one has just started, or ended
      out.unreadable.emplace_back(message_of(instance.status()));
    }
  }
  return out;
}

}  // namespace

Instances find_instances(const std::string& name, const std::string& run_dir) {
  std::optional<btrfs::Uuid> filesystem;
  if (!name.empty()) {
    auto named = filesystem_named(name);
    if (named.refusal.exit_status != 0) {
      return no_instances(named.refusal.exit_status, std::move(named.refusal.message));
    }
    filesystem = named.filesystem;
  }
  const std::string base = run_dir.empty() ? default_run_base() : run_dir;
  if (!run_dir.empty() && is_run_dir(run_dir)) return one_instance(run_dir, filesystem);
  if (filesystem) return one_instance(base + "/" + btrfs::to_string(*filesystem), filesystem);
  return all_instances(base, !run_dir.empty());
}

}  // namespace skep::service
