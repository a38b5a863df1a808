// SPDX-License-Identifier: MIT
#include "skep/btrfs/handle_cache.h"

#include <iterator>
#include <utility>

namespace skep::btrfs {

void HandleCache::remove(Entries::iterator entry, Entries& closing) {
  by_key_.erase(entry->key);
  closing.splice(closing.begin(), newest_first_, entry);
}

std::shared_ptr<File> HandleCache::find(const FileHandle& key, Clock::time_point now) {
  Entries closing;
  absl::MutexLock lock(&mutex_);
  auto it = by_key_.find(key);
  if (it == by_key_.end()) return nullptr;
  if (now - it->second->opened >= most_age_) {
    remove(it->second, closing);
    return nullptr;
  }
  newest_first_.splice(newest_first_.begin(), newest_first_, it->second);
  return it->second->file;
}

void HandleCache::insert(const FileHandle& key, std::shared_ptr<File> file, Clock::time_point now) {
  Entries closing;
  absl::MutexLock lock(&mutex_);
  if (by_key_.contains(key)) return;
  newest_first_.push_front({key, std::move(file), now});
  by_key_[key] = newest_first_.begin();
  if (by_key_.size() > capacity_) remove(std::prev(newest_first_.end()), closing);
}

void HandleCache::close_old(Clock::time_point now) {
  Entries closing;
  absl::MutexLock lock(&mutex_);
  for (auto entry = newest_first_.begin(); entry != newest_first_.end();) {
    const auto next = std::next(entry);
    if (now - entry->opened >= most_age_) remove(entry, closing);
    entry = next;
  }
}

void HandleCache::clear() {
  Entries closing;
  absl::MutexLock lock(&mutex_);
  by_key_.clear();
  closing.swap(newest_first_);
}

std::size_t HandleCache::size() const {
  absl::MutexLock lock(&mutex_);
  return by_key_.size();
}

}  // namespace skep::btrfs
