// SPDX-License-Identifier: MIT
//
// A bounded LRU of open files. Open descriptors keep deleted files' space and block subvolume
// deletion and umount, so there is a limit; a file in use stays open until its last user lets go.
// Thread-safe.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/container/flat_hash_map.h>
#include <absl/synchronization/mutex.h>

#include <cstddef>
#include <list>
#include <memory>

#include "skep/btrfs/filesystem.h"

namespace skep::btrfs {

class HandleCache {
 public:
  explicit HandleCache(std::size_t capacity) : capacity_(capacity) {}

  // The cached file, moved to the front, or null.
  std::shared_ptr<File> find(FileKey key) ABSL_LOCKS_EXCLUDED(mutex_);
  // Adds a file; the least recently used one goes when there are more than the capacity.
  void insert(FileKey key, std::shared_ptr<File> file) ABSL_LOCKS_EXCLUDED(mutex_);
  void clear() ABSL_LOCKS_EXCLUDED(mutex_);
  std::size_t size() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Entry {
    FileKey key;
    std::shared_ptr<File> file;
  };
  const std::size_t capacity_;
  mutable absl::Mutex mutex_;
  std::list<Entry> newest_first_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<FileKey, std::list<Entry>::iterator> by_key_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace skep::btrfs
