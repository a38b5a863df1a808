// SPDX-License-Identifier: MIT
#include "skep/service/progress.h"

#include <algorithm>

namespace skep::service {

void Progress::begin(std::string_view part, std::uint64_t bytes) {
  const absl::MutexLock lock(&mutex_);
  part_ = part;
  total_ = bytes;
  begin_ = counters.bytes_progress;
  since_ = Clock::now();
  best_ = 0;
}

void Progress::add(std::uint64_t bytes) {
  const absl::MutexLock lock(&mutex_);
  total_ += bytes;
}

std::optional<double> Progress::Now::seconds_left() const {
  if (share <= 0 || share >= 1) return std::nullopt;
  return seconds * (1 - share) / share;
}

Progress::Now Progress::now() const {
  const absl::MutexLock lock(&mutex_);
  Now out;
  out.part = part_;
  out.total_bytes = total_;
  out.done_bytes = std::min<std::uint64_t>(counters.bytes_progress - begin_, total_);
  if (total_ != 0) {
    best_ = std::max(best_, static_cast<double>(out.done_bytes) / static_cast<double>(total_));
  }
  out.share = best_;
  if (!part_.empty()) out.seconds = std::chrono::duration<double>(Clock::now() - since_).count();
  return out;
}

}  // namespace skep::service
