// SPDX-License-Identifier: MIT
//
// Opens what the user named, or says in one line why not. Pure but for system calls.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "skep/btrfs/kernel_filesystem.h"
#include "skep/service/refusal.h"

namespace skep::service {

struct Target {
  Refusal refusal;
  std::unique_ptr<btrfs::KernelFilesystem> filesystem;  // null when refused
  bool busy = false;            // refused because another instance works on it
  std::uint64_t subvolume = 0;  // whose top folder, which is no mount point, was named; 0: none
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

// The root of the subvolume whose top folder is there, mounted or not; 0: none is.
std::uint64_t subvolume_named(const std::string& path);

// A copy of a mounted filesystem's image is mounted under a UUID made for this mount alone.
bool has_temporary_uuid(const btrfs::Uuid& filesystem);

// Checks kernel, path, privileges, and, to work on it, takes the filesystem's lock. Who only looks
// needs none, and a read-only mount will do. `name` is a mount point, the top folder of a
// subvolume, or the UUID of a mounted filesystem.
enum class Purpose { kWork, kLook };
Target open_target(const std::string& name, Purpose purpose = Purpose::kWork);

}  // namespace skep::service
