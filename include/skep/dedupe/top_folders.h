// SPDX-License-Identifier: MIT
//
// Where a file lies, as coarsely as people ask: its subvolume, and the folder of the subvolume's
// top that it is in. Found from the file upwards, by tree searches; folders are remembered
// (bounded). Thread-compatible.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <optional>
#include <string>

#include "skep/btrfs/filesystem.h"

namespace skep::dedupe {

class TopFolders {
 public:
  // Folders that are remembered, about 70 bytes each.
  static constexpr std::size_t kRemembered = 16'384;

  explicit TopFolders(btrfs::Filesystem& fs) : fs_(fs) {}

  struct Place {
    std::string subvolume;  // its path in the filesystem: "/", "/home"
    std::string folder;     // the same with the folder: "/home/alice"; without: a file of the top
  };
  // Nothing for a file without a name, or that cannot be looked up.
  std::optional<Place> of(btrfs::FileKey file);

 private:
  std::optional<std::string> subvolume_path(std::uint64_t root);
  std::optional<std::string> folder_path(btrfs::FileKey folder);
  std::optional<std::string> top_name(btrfs::FileKey file);

  btrfs::Filesystem& fs_;
  absl::flat_hash_map<std::uint64_t, std::optional<std::string>> subvolumes_;  // by root
  // The name of the top folder that each folder is in.
  absl::flat_hash_map<btrfs::FileKey, std::string> folders_;
  btrfs::FileKey last_file_{};
  std::optional<Place> last_place_;
};

}  // namespace skep::dedupe
