// SPDX-License-Identifier: MIT
//
// Opens what the user named, or says in one line why not. Pure but for system calls.
#pragma once

#include <memory>
#include <string>

#include "skep/btrfs/kernel_filesystem.h"
#include "skep/service/refusal.h"

namespace skep::service {

struct Target {
  Refusal refusal;
  std::unique_ptr<btrfs::KernelFilesystem> filesystem;  // null when refused
  bool busy = false;  // refused because another instance works on it
};

// Whether the path is the mount point of a btrfs filesystem.
Refusal check_mount(const std::string& mount);

// The filesystem that is mounted there. Needs no privilege.
struct MountedFilesystem {
  Refusal refusal;
  btrfs::Uuid filesystem{};
};
MountedFilesystem filesystem_of_mount(const std::string& mount);

// The same, or the UUID of a filesystem, which need not be mounted.
MountedFilesystem filesystem_named(const std::string& name);

// A copy of a mounted filesystem's image is mounted under a UUID made for this mount alone.
bool has_temporary_uuid(const btrfs::Uuid& filesystem);

// Checks kernel, path, privileges, and takes the filesystem's lock. `name` is a mount point, or the
// UUID of a mounted filesystem.
Target open_target(const std::string& name);

}  // namespace skep::service
