// SPDX-License-Identifier: MIT
//
// The configuration files (man/skep.conf.5): TOML, read into Settings. All options stand in one
// table, src/service/config_options.cc. Pure functions but for reading the files; thread-safe,
// nothing throws.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <string>
#include <vector>

#include "skep/btrfs/types.h"
#include "skep/service/settings.h"

namespace skep::service {

inline constexpr char kConfigDir[] = "/etc/skep";

// Reads one file over what is in `settings`; what it does not name stays. On errors nothing
// changes. NOT_FOUND when there is no such file. INVALID_ARGUMENT for the first line of it that is
// wrong, as "FILE:LINE: what; a suggestion". Other codes, with the errno, when it cannot be read.
absl::Status load_config(const std::string& path, Settings& settings);

// The defaults, under skep.conf of the directory, under UUID.conf when a filesystem is given. Files
// that are missing are left out; otherwise errors as above.
absl::StatusOr<Settings> load_settings(const std::string& config_dir,
                                       const btrfs::Uuid* filesystem);

// An option as its documents describe it.
struct ConfigOption {
  std::string name;         // "throttle.io_pressure": section and key
  std::string type;         // "percent", "\"quick\" or \"deep\""
  std::string summary;      // one line, without a full stop
  bool reloadable = false;  // SIGHUP is enough
};

// All of them, in the order of the documents.
std::vector<ConfigOption> config_options();

// Those in which the two differ.
std::vector<ConfigOption> changed_options(const Settings& before, const Settings& after);

// What SIGHUP does: takes what can change while skep runs, and leaves the rest.
void take_reloadable(const Settings& from, Settings& to);

}  // namespace skep::service
