// SPDX-License-Identifier: MIT
//
// The names of an inode, from its INODE_REF and INODE_EXTREF items. Thread-safe.
#pragma once

#include <absl/status/statusor.h>

#include <cstddef>

#include "skep/btrfs/types.h"

namespace skep::btrfs {

// In the order of their keys. `fd`: any descriptor of the filesystem. NOT_FOUND when there is no
// such inode.
absl::StatusOr<NamedInode> inode_names(int fd, std::size_t node_size, FileKey file);

}  // namespace skep::btrfs
