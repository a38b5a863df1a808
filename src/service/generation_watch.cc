// SPDX-License-Identifier: MIT
#include "skep/service/generation_watch.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include "skep/btrfs/kernel_version.h"

namespace skep::service {
namespace {
// Longer than the commit interval of 30 s; who has set a longer one has a newer kernel, or waits.
constexpr std::chrono::seconds kSurelyCommitted{60};
constexpr std::chrono::seconds kStandsStill{3};
// A commit is counted some moments after those who wait for it are woken.
constexpr std::chrono::milliseconds kSurelyCounted{500};
}  // namespace

GenerationWatch::GenerationWatch(const btrfs::Uuid& filesystem, Ask ask, const std::string& sysfs)
    : folder_(sysfs + "/" + btrfs::to_string(filesystem)), ask_(std::move(ask)) {}

// All kernels have the folder, as long as the filesystem is mounted.
bool GenerationWatch::mounted() const { return access(folder_.c_str(), F_OK) == 0; }

// Empty when the kernel does not tell, or while a commit is under way, which is counted only after
// the next transaction may have begun.
std::optional<std::uint64_t> GenerationWatch::commits() const {
  std::ifstream file(folder_ + "/commit_stats");
  if (!file && mounted()) btrfs::note_missing(btrfs::KernelFeature::kCommitCount);
  std::optional<std::uint64_t> count;
  bool under_way = false;
  std::string name;
  for (std::uint64_t value = 0; file >> name >> value;) {
    if (name == "commits") count = value;
    if (name == "cur_commit_ms") under_way = value != 0;
  }
  return under_way ? std::nullopt : count;
}

std::optional<std::uint64_t> GenerationWatch::generation() const {
  std::ifstream file(folder_ + "/generation");
  std::uint64_t generation = 0;
  if (file >> generation) return generation;
  if (!ask_ || !mounted()) return std::nullopt;
  btrfs::note_missing(btrfs::KernelFeature::kGenerationFile);
  return ask_();
}

void GenerationWatch::bound_offset(std::uint64_t generation, std::uint64_t count,
                                   Clock::time_point now) {
  most_ = std::min(most_, static_cast<std::int64_t>(generation - count));
  if (waited_for_ != 0 && now - waited_at_ >= kSurelyCounted) {
    least_ = std::max(least_, static_cast<std::int64_t>(waited_for_ - count));
    waited_for_ = 0;
  }
  least_ = std::min(least_, most_);
}

bool GenerationWatch::wants_sync(Clock::time_point now) const {
  const bool counts = most_ != std::numeric_limits<std::int64_t>::max();
  return counts && least_ < most_ && committed_ < seen_ && now - since_ >= kStandsStill;
}

void GenerationWatch::committed(std::uint64_t generation, Clock::time_point now) {
  committed_ = std::max(committed_, generation);
  waited_for_ = generation;
  waited_at_ = now;
}

std::optional<std::uint64_t> GenerationWatch::poll(Clock::time_point now) {
  // The count first: what is counted was begun before the generation is read.
  const auto count = commits();
  const auto named = generation();
  if (!named) return std::nullopt;
  const std::uint64_t generation = *named;
  if (generation != seen_) {
    seen_ = generation;
    since_ = now;
  }
  if (generation > 0) committed_ = std::max(committed_, generation - 1);
  if (count) bound_offset(generation, *count, now);
  if (count && least_ != kUnknown) {
    const auto counted = static_cast<std::uint64_t>(static_cast<std::int64_t>(*count) + least_);
    committed_ = std::max(committed_, std::min(counted, generation));
  }
  if (now - since_ >= kSurelyCommitted) committed_ = std::max(committed_, generation);
  return committed_;
}

}  // namespace skep::service
