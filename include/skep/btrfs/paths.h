// SPDX-License-Identifier: MIT
//
// What files are called, by number, without opening anything: names come from the tree of their
// subvolume, from the file upwards (INODE_REF), and where a subvolume hangs from the root tree.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/btrfs/types.h"

namespace skep::btrfs {

// Of an open file. Needs no privilege.
absl::StatusOr<FileKey> file_key(int fd, const std::string& path);

// Thread-compatible. What was found is remembered: for as long as one looks at something.
class Paths {
 public:
  explicit Paths(Filesystem& fs) : fs_(fs) {}

  // Paths from the top level of the filesystem, without a slash in front: one for each hard link.
  // NOT_FOUND for what is deleted, or hangs nowhere just now.
  absl::StatusOr<std::vector<std::string>> of(FileKey file);

 private:
  absl::StatusOr<std::string> of_folder(FileKey folder, int depth);
  absl::StatusOr<std::string> of_subvolume(std::uint64_t root, int depth);
  absl::Status load();

  Filesystem& fs_;
  absl::flat_hash_map<std::uint64_t, Subvolume> subvolumes_;
  absl::flat_hash_map<FileKey, std::string> folders_;
};

}  // namespace skep::btrfs
