// SPDX-License-Identifier: MIT
//
// What the plans of an imagined run gain, added up: in all, by kind, by the place of the files that
// hold the data now, and by stretch, so that a part of the filesystem tells of all of it.
//
// Where only some stretches were looked at, the whole is estimated by ratio: in each tier of small
// extents, what is freed of a byte that was looked at, times the bytes there are. Its error comes
// from how much the stretches differ (linearised variance of the ratio, stretches as clusters).
//
// Thread-safe, but for totals(), which is for the end.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/container/flat_hash_map.h>
#include <absl/synchronization/mutex.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/crawl.h"
#include "skep/dedupe/imagined_filesystem.h"
#include "skep/dedupe/top_folders.h"
#include "skep/dedupe/types.h"

namespace skep::dedupe {

// The extents that begin in a stretch, by tier.
struct StretchCensus {
  std::array<std::uint64_t, kTierMinBytes.size()> bytes{};
  std::array<std::uint32_t, kTierMinBytes.size()> extents{};
};
// Of all stretches, by their number; 150 bytes each, 10 MiB a TiB.
using Stretches = absl::flat_hash_map<std::uint64_t, StretchCensus>;

struct PlaceGain {
  std::string path;
  std::uint64_t bytes = 0;
};

struct GainTotals {
  std::uint64_t freed_bytes = 0;     // lengths of the extents that go, less what is copied
  std::uint64_t margin_bytes = 0;    // 95 % confidence; 0 where everything was looked at
  std::uint64_t whole_bytes = 0;     // freed, of extents of which nothing is copied
  std::uint64_t part_bytes = 0;      // freed, of the others
  std::uint64_t zero_bytes = 0;      // of freed: blocks of zeros, which become holes
  std::uint64_t unused_bytes = 0;    // of freed: blocks that no file refers to
  std::uint64_t extents = 0;         // that go
  std::uint64_t copied_bytes = 0;    // the cost
  std::uint64_t metadata_bytes = 0;  // growth, as on disk, by estimate
  std::vector<PlaceGain> subvolumes, folders;  // most first
};

class GainLedger {
 public:
  // Places that are told apart; what comes beyond is added up as "(others)".
  static constexpr std::size_t kMostPlaces = 4'096;
  // Of a victim's files so many are looked up; more are mostly snapshots of the same.
  static constexpr std::size_t kMostFiles = 16;

  // `fs` is borrowed; null: places are not told apart.
  explicit GainLedger(btrfs::Filesystem* fs);

  void add(const ReplacementPlan& plan) ABSL_LOCKS_EXCLUDED(mutex_);
  // `all` has every stretch there is, `sample` says what was looked at.
  GainTotals totals(const Stretches& all, const Sample& sample) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  using TierGains = std::array<double, kTierMinBytes.size()>;
  using Places = std::map<std::string, double>;
  void add_places(const ReplacementPlan& plan, double net) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  std::unique_ptr<TopFolders> top_folders_ ABSL_PT_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::uint64_t, TierGains> by_stretch_ ABSL_GUARDED_BY(mutex_);
  double of_copies_ ABSL_GUARDED_BY(mutex_) = 0;  // freed by copies that go in their turn
  double whole_ ABSL_GUARDED_BY(mutex_) = 0, part_ ABSL_GUARDED_BY(mutex_) = 0,
                zeros_ ABSL_GUARDED_BY(mutex_) = 0, unused_ ABSL_GUARDED_BY(mutex_) = 0,
                copied_ ABSL_GUARDED_BY(mutex_) = 0, metadata_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t extents_ ABSL_GUARDED_BY(mutex_) = 0;
  Places subvolumes_ ABSL_GUARDED_BY(mutex_), folders_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace skep::dedupe
