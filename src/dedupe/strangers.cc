// SPDX-License-Identifier: MIT
#include "skep/dedupe/strangers.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

// The kernel read all that is equal before the block that differs: further in it is one by chance.
constexpr std::uint64_t kLookedThrough = 128 << 10;

// What both files hold there, up to the shorter one.
std::size_t read_both(Strangers::Place one, Strangers::Place other, std::span<std::byte> a,
                      std::span<std::byte> b) {
  const auto got = one.file.read(one.offset, a);
  const auto other_got = other.file.read(other.offset, b);
  return got.ok() && other_got.ok() ? std::min(*got, *other_got) : 0;
}

}  // namespace

void Strangers::look_into(Place one, Place other, std::uint64_t length) {
  if (fingerprinter_.bits() > 32) return;
  const std::size_t most = std::min(length, kLookedThrough);
  std::vector<std::byte> a(block_), b(block_);
  for (std::size_t at = 0; at + block_ <= most; at += block_) {
    const std::size_t got =
        read_both({one.file, one.offset + at}, {other.file, other.offset + at}, a, b);
    if (got < block_) return;
    if (std::memcmp(a.data(), b.data(), block_) == 0) continue;
    met(a, b);
    return;
  }
}

void Strangers::met(std::span<const std::byte> one, std::span<const std::byte> other) {
  if (fingerprinter_.bits() > 32) return;
  const auto fingerprint = fingerprinter_.from_block(one, false);
  if (fingerprint == fingerprinter_.from_block(other, false)) count(fingerprint);
}

bool Strangers::is_frequent(index::Fingerprint fingerprint) const {
  absl::ReaderMutexLock lock(&mutex_);
  const auto found = pairs_.find(fingerprint);
  return found != pairs_.end() && found->second >= kEnough;
}

void Strangers::count(index::Fingerprint fingerprint) {
  ++counters_.stranger_pairs;
  absl::MutexLock lock(&mutex_);
  if (pairs_.size() >= limits::kStrangers && !pairs_.contains(fingerprint)) pairs_.clear();
  if (++pairs_[fingerprint] >= kEnough) any_frequent_ = true;
}

}  // namespace skep::dedupe
