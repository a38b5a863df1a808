// SPDX-License-Identifier: MIT
#include "skep/service/generation_watch.h"

#include <algorithm>
#include <fstream>

namespace skep::service {

GenerationWatch::GenerationWatch(const btrfs::Uuid& filesystem, const std::string& sysfs)
    : folder_(sysfs + "/" + btrfs::to_string(filesystem)) {}

// Empty when the kernel does not tell, or while a commit is under way, whose end may be counted
// only after the next transaction has begun.
std::optional<std::uint64_t> GenerationWatch::commits() const {
  std::ifstream file(folder_ + "/commit_stats");
  std::optional<std::uint64_t> count;
  bool under_way = false;
  std::string name;
  for (std::uint64_t value = 0; file >> name >> value;) {
    if (name == "commits") count = value;
    if (name == "cur_commit_ms") under_way = value != 0;
  }
  return under_way ? std::nullopt : count;
}

std::optional<std::uint64_t> GenerationWatch::poll(Clock::time_point now) {
  // The count first: what is counted was begun before the generation is read.
  const auto count = commits();
  std::ifstream file(folder_ + "/generation");
  std::uint64_t generation = 0;
  if (!(file >> generation)) return std::nullopt;
  if (generation != seen_) {
    seen_ = generation;
    commits_then_ = count;
    since_ = now;
    committed_ = std::max(committed_, generation - std::min<std::uint64_t>(generation, 1));
  } else if (!commits_then_ && count) {
    commits_then_ = count;
  }
  const bool counted = count && commits_then_ && *count > *commits_then_;
  if (counted || now - since_ >= kSurelyCommitted) committed_ = std::max(committed_, generation);
  return committed_;
}

}  // namespace skep::service
