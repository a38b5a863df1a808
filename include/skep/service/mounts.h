// SPDX-License-Identifier: MIT
//
// Which btrfs filesystems are mounted where, as this process sees it (/proc/self/mountinfo). Needs
// no privilege. Thread-safe but for MountWatch, which is thread-compatible.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "skep/btrfs/descriptor.h"
#include "skep/btrfs/types.h"

namespace skep::service {

struct Mount {
  std::string path;
  std::string device;                 // major:minor, the same for all mounts of a filesystem
  bool read_only = false;             // this mount
  bool filesystem_read_only = false;  // the filesystem as a whole
};

// Those of btrfs in a text as /proc/PID/mountinfo has it (proc(5)), in its order.
std::vector<Mount> parse_btrfs_mounts(std::string_view mountinfo);
std::vector<Mount> btrfs_mounts();
// A mount of the filesystem, a writable one where there is one.
std::optional<Mount> mount_of(const btrfs::Uuid& filesystem);

// Tells when the mount table has changed, without looking at it.
class MountWatch {
 public:
  MountWatch();
  // For poll(2) with POLLPRI; -1 where it could not be opened.
  int fd() const { return fd_.get(); }
  // Who has polled the descriptor himself, and was told, says so here: it is told once.
  void note_change() { noted_ = true; }
  // True once for each change, and at first.
  bool changed();

 private:
  btrfs::Descriptor fd_;
  bool noted_ = true;
};

}  // namespace skep::service
