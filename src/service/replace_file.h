// SPDX-License-Identifier: MIT
//
// Files that are written anew as a whole: who reads one, or finds it after a crash, has the old
// text or the new one. Thread-compatible: one writer to a path.
#pragma once

#include <absl/status/status.h>

#include <string>
#include <string_view>

namespace skep::service {

enum class Replacing {
  kForReaders,  // mode 0644, whatever the umask. Not flushed: a crash may leave neither text
  kDurably,     // mode 0600, its folder's owner's, flushed
};
// Writes path.new and renames it. An errno_status; path.new is gone then.
absl::Status replace_file(const std::string& path, std::string_view text, Replacing how);

}  // namespace skep::service
