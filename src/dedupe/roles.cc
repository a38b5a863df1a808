// SPDX-License-Identifier: MIT
#include "skep/dedupe/roles.h"

#include <algorithm>

#include "skep/dedupe/limits.h"

namespace skep::dedupe {

bool Roles::set_going(std::uint64_t address) {
  absl::MutexLock lock(&mutex_);
  if (keeps(address)) return false;
  going_.insert(address);
  return true;
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
  return true;
}

void Roles::remember(std::uint64_t address) {
  absl::MutexLock lock(&mutex_);
  if (recent_.size() >= limits::kRememberedKeepers / 2) {
    older_.swap(recent_);
    recent_.clear();
  }
  recent_.insert(address);
}

void Roles::unpin(std::uint64_t address) {
  absl::MutexLock lock(&mutex_);
  auto it = pins_.find(address);
  if (it != pins_.end() && --it->second == 0) pins_.erase(it);
}

bool Roles::is_keeper(std::uint64_t address) const {
  absl::MutexLock lock(&mutex_);
  return keeps(address);
}

bool Roles::keeps(std::uint64_t address) const {
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

bool Roles::defer(std::uint64_t address, std::uint64_t length, Verdict why) {
  absl::MutexLock lock(&mutex_);
  if (deferred_.size() >= limits::kDeferred) return false;
  deferred_.try_emplace(address, Deferred{address, length, why});
  return true;
}

std::vector<Roles::Deferred> Roles::take_deferred() {
  absl::MutexLock lock(&mutex_);
  std::vector<Deferred> out;
  out.reserve(deferred_.size());
  for (const auto& [address, deferred] : deferred_) out.push_back(deferred);
  deferred_.clear();
  std::sort(out.begin(), out.end(),
            [](const Deferred& a, const Deferred& b) { return a.address < b.address; });
  return out;
}

}  // namespace skep::dedupe
