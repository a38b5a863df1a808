// SPDX-License-Identifier: MIT
//
// A bounded LRU of open files. An open file keeps its space when it is deleted, and that of its
// subvolume, so there is a limit to their number and to their age: a file is closed some time after
// it was opened, however much it is used, since what is deleted may be in use here alone. A file in
// use stays open until its last user lets go. Thread-safe.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/container/flat_hash_map.h>
#include <absl/synchronization/mutex.h>

#include <chrono>
#include <cstddef>
#include <list>
#include <memory>

#include "skep/btrfs/filesystem.h"

namespace skep::btrfs {

class HandleCache {
 public:
  using Clock = std::chrono::steady_clock;

  HandleCache(std::size_t capacity, Clock::duration most_age)
      : capacity_(capacity), most_age_(most_age) {}

  // The cached file, moved to the front; null when there is none, or it is too old, or another file
  // had this number when it was opened. A handle without a generation takes whichever it is.
  std::shared_ptr<File> find(const FileHandle& handle, Clock::time_point now = Clock::now())
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Adds a file, in the place of another one of its number; the least recently used one goes when
  // there are more than the capacity. Generation 0: not known, only a handle without one finds it.
  void insert(const FileHandle& handle, std::shared_ptr<File> file,
              Clock::time_point now = Clock::now()) ABSL_LOCKS_EXCLUDED(mutex_);
  // Closes those that are too old. Looks at all.
  void close_old(Clock::time_point now = Clock::now()) ABSL_LOCKS_EXCLUDED(mutex_);
  void clear() ABSL_LOCKS_EXCLUDED(mutex_);
  std::size_t size() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Entry {
    FileHandle handle;
    std::shared_ptr<File> file;
    Clock::time_point opened;
  };
  using Entries = std::list<Entry>;
  // Closing a file may take long (it may be the last owner): what goes is moved to `closing`, for
  // the caller to let go of outside the lock.
  void remove(Entries::iterator entry, Entries& closing) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::size_t capacity_;
  const Clock::duration most_age_;
  mutable absl::Mutex mutex_;
  Entries newest_first_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<FileKey, Entries::iterator> by_key_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace skep::btrfs
