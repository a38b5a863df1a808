// SPDX-License-Identifier: MIT
#include "skep/btrfs/handle_cache.h"

#include <iterator>
#include <utility>

namespace skep::btrfs {

void HandleCache::remove(Entries::iterator entry, Entries& closing) {
  by_key_.erase(entry->handle);
  closing.splice(closing.begin(), newest_first_, entry);
}

std::shared_ptr<File> HandleCache::find(const FileHandle& handle, Clock::time_point now) {
  Entries closing;
  absl::MutexLock lock(&mutex_);
  auto it = by_key_.find(handle);
  if (it == by_key_.end()) return nullptr;
  const Entry& found = *it->second;
  if (handle.generation != 0 && handle.generation != found.handle.generation) return nullptr;
  if (now - found.opened >= most_age_) {
    remove(it->second, closing);
    return nullptr;
  }
  newest_first_.splice(newest_first_.begin(), newest_first_, it->second);
  return found.file;
}

void HandleCache::insert(const FileHandle& handle, std::shared_ptr<File> file,
                         Clock::time_point now) {
  Entries closing;
  absl::MutexLock lock(&mutex_);
  if (auto it = by_key_.find(handle); it != by_key_.end()) {
    if (it->second->handle == handle) return;
    remove(it->second, closing);
  }
  newest_first_.push_front({handle, std::move(file), now});
  by_key_[handle] = newest_first_.begin();
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
