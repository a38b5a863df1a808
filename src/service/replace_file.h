// SPDX-License-Identifier: MIT
//
// Files that others read while they are written anew. Thread-compatible: one writer to a path.
#pragma once

#include <absl/status/status.h>

#include <string>
#include <string_view>

namespace skep::service {

// Writes path.new, mode 0644, and renames it: whoever opens `path` gets the old text or the new
// one, whole. Not flushed, so a crash of the machine may leave either of them, or none.
absl::Status replace_file(const std::string& path, std::string_view text);

}  // namespace skep::service
