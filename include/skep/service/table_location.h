// SPDX-License-Identifier: MIT
//
// Where the table is that somebody names: by the filesystem, mounted or not, by its state
// directory, or by its file. Looks at the path only, not into the table. Needs no privilege.
// Thread-safe.
#pragma once

#include <optional>
#include <string>

#include "skep/btrfs/types.h"
#include "skep/service/refusal.h"

namespace skep::service {

struct TableLocation {
  Refusal refusal;
  std::string path;
  std::optional<btrfs::Uuid> filesystem;  // whose table it has to be, when that was said
};

// `name` is a mount point, a UUID, or a table file; `state_dir` a directory with a table. Either
// may be empty, not both. A file goes without a state directory.
TableLocation locate_table(const std::string& name, const std::string& state_dir);

}  // namespace skep::service
