// SPDX-License-Identifier: MIT
#include "skep/dedupe/roles.h"

#include <algorithm>

#include "skep/dedupe/limits.h"

namespace skep::dedupe {

void Roles::set_going(std::uint64_t address) {
  absl::MutexLock lock(&mutex_);
  going_.insert(address);
}

void Roles::clear_going(std::uint64_t address) {
  absl::MutexLock lock(&mutex_);
  going_.erase(address);
}

bool Roles::going(std::uint64_t address) const {
  absl::MutexLock lock(&mutex_);
  return going_.contains(address);
}

bool Roles::pin(std::uint64_t address) {
  absl::MutexLock lock(&mutex_);
  if (going_.contains(address)) return false;
  ++pins_[address];
  if (recent_.size() >= limits::kRememberedKeepers / 2) {
    older_.swap(recent_);
    recent_.clear();
  }
  recent_.insert(address);
  return true;
}

void Roles::unpin(std::uint64_t address) {
  absl::MutexLock lock(&mutex_);
  auto it = pins_.find(address);
  if (it != pins_.end() && --it->second == 0) pins_.erase(it);
}

bool Roles::is_keeper(std::uint64_t address) const {
  absl::MutexLock lock(&mutex_);
  return recent_.contains(address) || older_.contains(address) || pins_.contains(address);
}

bool Roles::pinned(std::uint64_t address) const {
  absl::MutexLock lock(&mutex_);
  return pins_.contains(address);
}

void Roles::forget_keepers() {
  absl::MutexLock lock(&mutex_);
  recent_.clear();
  older_.clear();
}

void Roles::defer(std::uint64_t address) {
  absl::MutexLock lock(&mutex_);
  if (deferred_.size() < limits::kDeferred) deferred_.insert(address);
}

std::vector<std::uint64_t> Roles::take_deferred() {
  absl::MutexLock lock(&mutex_);
  std::vector<std::uint64_t> out(deferred_.begin(), deferred_.end());
  deferred_.clear();
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace skep::dedupe
