// SPDX-License-Identifier: MIT
#include "skep/btrfs/handle_cache.h"

#include <utility>

namespace skep::btrfs {

std::shared_ptr<File> HandleCache::find(FileKey key) {
  absl::MutexLock lock(&mutex_);
  auto it = by_key_.find(key);
  if (it == by_key_.end()) return nullptr;
  newest_first_.splice(newest_first_.begin(), newest_first_, it->second);
  return it->second->file;
}

void HandleCache::insert(FileKey key, std::shared_ptr<File> file) {
  // Closing a file may take long (it may be the last owner): outside the lock.
  std::shared_ptr<File> evicted;
  {
    absl::MutexLock lock(&mutex_);
    if (by_key_.contains(key)) return;
    newest_first_.push_front({key, std::move(file)});
    by_key_[key] = newest_first_.begin();
    if (by_key_.size() > capacity_) {
      evicted = std::move(newest_first_.back().file);
      by_key_.erase(newest_first_.back().key);
      newest_first_.pop_back();
    }
  }
}

void HandleCache::clear() {
  std::list<Entry> closing;
  absl::MutexLock lock(&mutex_);
  by_key_.clear();
  closing.swap(newest_first_);
}

std::size_t HandleCache::size() const {
  absl::MutexLock lock(&mutex_);
  return by_key_.size();
}

}  // namespace skep::btrfs
