// SPDX-License-Identifier: MIT
#include "space_guard.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "skep/service/sizes.h"
#include "stop_every.h"

namespace skep::service {
namespace {
// One look costs some microseconds, and a second of sharing writes some MiB of metadata at most.
constexpr auto kLookEvery = std::chrono::seconds(1);
constexpr char kWord[] = "metadata_space";
}  // namespace

std::uint64_t default_metadata_reserve(std::uint64_t device_bytes) {
  return std::clamp<std::uint64_t>(device_bytes / 100, 16ULL << 20, 256ULL << 20);
}

bool SpaceGuard::enough() {
  if (!look_now_.exchange(false) && Clock::now() - looked_ < kLookEvery) return true;
  looked_ = Clock::now();
  auto* filesystem = filesystem_();
  if (filesystem == nullptr) return true;
  const auto space = filesystem->space();
  if (!space.ok()) return true;  // the batch will meet the same error, and tell it
  const std::uint64_t wanted = reserve_bytes_;
  const std::uint64_t reserve =
      wanted != 0 ? wanted : default_metadata_reserve(space->device_bytes);
  if (space->metadata_room() >= reserve) {
    throttle_.release_externally(kWord);
    return true;
  }
  throttle_.hold_externally(kWord,
                            fmt::format("{} left for metadata, {} are kept free",
                                        format_size(space->metadata_room()), format_size(reserve)));
  return false;
}

void SpaceGuard::before_batch(const std::function<bool()>& stop) {
  {
    absl::MutexLock lock(&mutex_);
    while (!enough()) {
      const auto until = Clock::now() + kLookEvery;
      while (Clock::now() < until && !stop()) std::this_thread::sleep_for(kStopEvery);
      if (stop()) break;
    }
  }
  throttle_.before_batch(stop);
}

}  // namespace skep::service
