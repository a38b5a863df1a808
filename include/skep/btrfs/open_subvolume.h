// SPDX-License-Identifier: MIT
//
// One subvolume, opened by the path of its top folder, and what was written to it since a
// generation. For those who need no more of a filesystem: a mount that is read-only will do, and so
// does CAP_SYS_ADMIN alone. Thread-compatible.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "skep/btrfs/descriptor.h"
#include "skep/btrfs/types.h"

namespace skep::btrfs {

// The subvolume whose top folder is at `path`; empty for any other folder. Needs no privilege.
// ENOTTY: the path is on no btrfs.
absl::StatusOr<std::optional<std::uint64_t>> subvolume_at(const std::string& path);

class OpenSubvolume {
 public:
  // INVALID_ARGUMENT when the path is no subvolume's top folder, ENOTTY when it is on no btrfs.
  static absl::StatusOr<OpenSubvolume> open(const std::string& path);

  std::uint64_t root() const { return root_; }
  const Uuid& filesystem() const { return filesystem_; }

  // Writes back and commits, so that what was written before has its extents.
  absl::Status sync();
  // Of the subvolume's newest commit; later than that nothing of it was written.
  absl::StatusOr<std::uint64_t> generation();
  // Calls `visit` with each file extent item whose generation is `since` or later, by inode and
  // offset. `path` is that of the file in the subvolume, or of the first of its names; files
  // without any (deleted, still open) are passed by. False from it ends the walk.
  using ChangeVisitor =
      absl::FunctionRef<bool(std::uint64_t inode, const std::string& path, const FileExtent&)>;
  absl::Status changes(std::uint64_t since, ChangeVisitor visit);

 private:
  OpenSubvolume(std::string name, Descriptor folder)
      : name_(std::move(name)), folder_(std::move(folder)) {}
  absl::StatusOr<std::optional<std::string>> path_of(std::uint64_t inode);
  absl::StatusOr<std::optional<std::string>> way_to(std::uint64_t folder);

  std::string name_;  // for messages
  Descriptor folder_;
  std::uint64_t root_ = 0;
  Uuid filesystem_{};
  std::size_t node_size_ = 0;
  absl::flat_hash_map<std::uint64_t, std::string> ways_;  // to folders, some of them
};

}  // namespace skep::btrfs
