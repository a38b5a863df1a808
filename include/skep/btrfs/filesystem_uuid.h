// SPDX-License-Identifier: MIT
//
// Which filesystem a path is on, for those who need no more than that. Needs no privilege.
// Thread-safe.
#pragma once

#include <absl/status/statusor.h>

#include <optional>
#include <string>
#include <string_view>

#include "skep/btrfs/types.h"

namespace skep::btrfs {

// Of the btrfs filesystem that the path is on, as long as it is mounted.
absl::StatusOr<Uuid> filesystem_uuid(const std::string& path);
// The same, of what is open; the path is for messages.
absl::StatusOr<Uuid> filesystem_uuid(int fd, const std::string& path);

// As to_string() writes it, in either case; empty for anything else.
std::optional<Uuid> parse_uuid(std::string_view text);

}  // namespace skep::btrfs
