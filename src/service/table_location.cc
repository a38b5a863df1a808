// SPDX-License-Identifier: MIT
#include "skep/service/table_location.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "skep/btrfs/filesystem_uuid.h"
#include "skep/service/exit_status.h"
#include "skep/service/state_dir.h"
#include "target.h"

namespace skep::service {
namespace {

TableLocation no_table(int exit_status, std::string message) {
  TableLocation out;
  out.refusal = {exit_status, std::move(message)};
  return out;
}

TableLocation of_filesystem(const btrfs::Uuid& filesystem, const std::string& state_dir) {
  const std::string folder = state_dir.empty() ? StateDir::default_path(filesystem) : state_dir;
  return {{}, folder + "/table", filesystem};
}

TableLocation of_mount(const std::string& mount, const std::string& state_dir) {
  const auto mounted = filesystem_of_mount(mount);
  if (mounted.refusal.exit_status != 0) return {mounted.refusal, {}, {}};
  if (state_dir.empty() && has_temporary_uuid(mounted.filesystem)) {
    return no_table(kExitUsage,
                    fmt::format("{}: mounted under a temporary UUID; name its --state-dir", mount));
  }
  return of_filesystem(mounted.filesystem, state_dir);
}

}  // namespace

TableLocation locate_table(const std::string& name, const std::string& state_dir) {
  if (name.empty()) return {{}, state_dir + "/table", {}};
  if (const auto filesystem = btrfs::parse_uuid(name)) return of_filesystem(*filesystem, state_dir);
  struct stat st {};
  if (stat(name.c_str(), &st) != 0) {
    return no_table(kExitUsage, fmt::format("{}: {}", name, std::strerror(errno)));
  }
  if (S_ISDIR(st.st_mode)) return of_mount(name, state_dir);
  if (!state_dir.empty()) {
    return no_table(kExitUsage, fmt::format("{}: a table file goes without --state-dir", name));
  }
  if (!S_ISREG(st.st_mode)) {
    return no_table(kExitUsage, fmt::format("{}: neither a mount point nor a table file", name));
  }
  return {{}, name, {}};
}

}  // namespace skep::service
