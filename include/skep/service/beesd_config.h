// SPDX-License-Identifier: MIT
//
// The configuration of beesd, which starts bees: a file of shell assignments. It is parsed, never
// executed. Pure functions, thread-safe.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>

namespace skep::service {

// The text of a skep.conf that does the same, with a comment for each setting that has no
// counterpart, and for each line that is none. `name` is the file's, for the first line.
// INVALID_ARGUMENT when there is nothing of such a configuration in it.
absl::StatusOr<std::string> from_beesd_config(std::string_view text, std::string_view name);

}  // namespace skep::service
