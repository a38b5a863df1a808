// SPDX-License-Identifier: MIT
//
// Which files are left out. No tree is walked: the verdict on a file is found from the file that
// refers to an extent upwards, when it is asked for. A tree search gives its names, each a folder
// and an entry of it (INODE_REF, INODE_EXTREF), the folder's name in its own folder comes in the
// same way, up to the top of the subvolume, and where that hangs stands in the root tree
// (ROOT_BACKREF). Verdicts and folders are remembered (bounded) for a second; so a file that is
// moved has its new verdict a second later. Where subvolumes alone decide, no file is looked up.
//
// A file with several names is excluded when any name is, and included when any is. A file without
// a name (deleted, still open) or in a subvolume that is being deleted cannot be judged, and is
// left out as soon as names count.
//
// Thread-safe. Errors are those of Filesystem::names() and subvolumes().
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/container/flat_hash_map.h>
#include <absl/status/statusor.h>
#include <absl/synchronization/mutex.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/filter_options.h"

namespace skep::dedupe {

class FileFilter {
 public:
  // `fs` is borrowed.
  FileFilter(btrfs::Filesystem& fs, FilterOptions options)
      : fs_(fs), options_(std::move(options)) {}

  // NOT_FOUND when there is no such file (any more).
  absl::StatusOr<bool> excludes(btrfs::FileKey file) ABSL_LOCKS_EXCLUDED(mutex_);
  // Changes when verdicts may have: what was concluded from them is to be concluded anew.
  std::uint64_t era() ABSL_LOCKS_EXCLUDED(mutex_);
  // Everything is looked up anew from here on.
  void forget() ABSL_LOCKS_EXCLUDED(mutex_);
  // The patterns for subvolumes that match none of now: misspelt, more likely than not.
  absl::StatusOr<std::vector<std::string>> unmatched_subvolumes() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  using Clock = std::chrono::steady_clock;
  struct Subvolume {
    btrfs::Subvolume info;
    std::optional<bool> excluded;  // once it was asked for
  };
  // A folder, and what of the patterns covers all that is in it.
  struct Folder {
    std::string path;
    bool included = false, excluded = false;
  };
  absl::Status load() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<bool> excludes_subvolume(std::uint64_t root) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<bool> judge_subvolume(const btrfs::Subvolume& subvolume)
      ABSL_LOCKS_EXCLUDED(mutex_);
  bool lies_in(std::uint64_t root, std::uint64_t outer) const ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<bool> covered(std::uint64_t root, const std::vector<Glob>& globs)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<bool> judge_names(std::uint64_t root, const std::vector<btrfs::FileName>& names)
      ABSL_LOCKS_EXCLUDED(mutex_);
  std::optional<btrfs::Subvolume> subvolume(std::uint64_t root) const ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<Folder> folder(btrfs::FileKey key) ABSL_LOCKS_EXCLUDED(mutex_);
  std::optional<Folder> known_folder(btrfs::FileKey key) const ABSL_LOCKS_EXCLUDED(mutex_);
  struct Step {
    btrfs::FileKey parent;
    std::string name;
  };
  absl::StatusOr<Step> above(btrfs::FileKey folder) ABSL_LOCKS_EXCLUDED(mutex_);
  Folder inside(const Folder& parent, const std::string& name, bool is_folder) const;

  btrfs::Filesystem& fs_;
  const FilterOptions options_;
  mutable absl::Mutex mutex_;  // not held during calls of fs_
  std::optional<Clock::time_point> loaded_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t era_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<std::uint64_t, Subvolume> subvolumes_ ABSL_GUARDED_BY(mutex_);  // by root
  absl::flat_hash_map<btrfs::FileKey, bool> files_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<btrfs::FileKey, Folder> folders_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace skep::dedupe
