// SPDX-License-Identifier: MIT
//
// The match stage over one batch of extents, some of them copies of extents that the crawl has gone
// by. Its cache is cold, so the windows of the originals are loaded too.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "bench_support.h"
#include "skep/dedupe/fingerprint_stage.h"
#include "skep/dedupe/limits.h"
#include "skep/dedupe/match_stage.h"

namespace skep::bench {
namespace {

// As many and as long as make a full batch.
constexpr std::uint64_t kExtents = dedupe::limits::kBatchExtents;
constexpr std::uint64_t kExtentBytes = dedupe::limits::kBatchBytes / kExtents;

// `percent` of the extents [0, kExtents), evenly spread.
bool is_copy(std::uint64_t i, std::uint64_t percent) {
  return (i + 1) * percent / 100 != i * percent / 100;
}

// A file of originals, and behind it one of copies and of extents that occur once.
class Scene {
 public:
  explicit Scene(std::uint64_t percent) : fs_(new_filesystem(kExtentBytes)) {
    const std::uint64_t root = fs_->add_subvolume();
    const auto originals = random_bytes(1, kExtents * kExtentBytes);
    auto batch = random_bytes(2, originals.size());
    for (std::uint64_t i = 0; i < kExtents; ++i) {
      if (!is_copy(i, percent)) continue;
      std::copy_n(originals.begin() + i * kExtentBytes, kExtentBytes,
                  batch.begin() + i * kExtentBytes);
      ++copies_;
    }
    fs_->create(root, originals);
    fs_->create(root, batch);
    const auto generation = fs_->sync();
    if (!generation.ok()) return;
    window_.to = *generation;
    fingerprinter_.emplace(fs_->info());
    contents_.emplace(*fingerprinter_, fs_->info().block_size);
    stage_.emplace(dedupe::FingerprintStage::Parts{*fs_, *fingerprinter_, *contents_, resolver_,
                                                   counters_, dedupe::Options()});
    strangers_.emplace(*fingerprinter_, fs_->info().block_size, counters_);
    std::vector<dedupe::ToRead> to_read;
    if (!stage_->describe(all_extents(*fs_), false, extents_, to_read).ok()) extents_.clear();
  }

  bool valid() const { return extents_.size() == 2 * kExtents; }
  std::uint64_t copies() const { return copies_; }
  btrfs::Filesystem& fs() const { return *fs_; }
  const index::Fingerprinter& fingerprinter() const { return *fingerprinter_; }
  dedupe::Window window() const { return window_; }

  // Also puts back what a run has erased.
  void insert_into(index::Table& table) const {
    for (const auto& one : extents_) {
      for (std::size_t i = 0; i < one.blocks.size(); ++i) {
        table.insert(one.blocks[i], one.extent.address + i * kBlock);
      }
    }
  }

  dedupe::MatchStage::Parts parts(index::Table& table, dedupe::Roles& roles,
                                  dedupe::Counters& counters) {
    return {*fs_,      *fingerprinter_, table,       *contents_, *stage_,
            resolver_, roles,           *strangers_, counters,   dedupe::Options()};
  }

  dedupe::Batch batch() const {
    dedupe::Batch out;
    out.tier = dedupe::tier_of(kExtentBytes);
    out.fingerprinted.assign(extents_.begin() + kExtents, extents_.end());
    return out;
  }

 private:
  std::unique_ptr<btrfs::MemoryFilesystem> fs_;
  std::optional<index::Fingerprinter> fingerprinter_;
  std::optional<index::ContentCache> contents_;
  dedupe::PhaseGate gate_;
  dedupe::Counters counters_;
  dedupe::Resolver resolver_{*fs_, gate_, counters_};
  std::optional<dedupe::FingerprintStage> stage_;
  std::optional<dedupe::Strangers> strangers_;
  dedupe::Window window_;
  std::vector<dedupe::FingerprintedExtent> extents_;
  std::uint64_t copies_ = 0;
};

// Each copy goes, to one run in its original; everything else is unique.
bool is_right(const dedupe::Batch& batch, const Scene& scene) {
  if (batch.matches.size() != scene.copies()) return false;
  if (batch.left.size() != kExtents - scene.copies()) return false;
  for (const auto& match : batch.matches) {
    if (match.runs.size() != 1 || match.runs[0].blocks != kExtentBytes / kBlock) return false;
    const std::uint64_t original = match.victim.extent.address - kExtents * kExtentBytes;
    if (match.runs[0].keeper.address != original) return false;
  }
  for (const auto& left : batch.left) {
    if (left.verdict != dedupe::Verdict::kUnique) return false;
  }
  return true;
}

// The argument is how many of 100 extents are copies.
void match_batch(benchmark::State& state) {
  Scene scene(static_cast<std::uint64_t>(state.range(0)));
  const TemporaryTable table(1 << 20);
  if (!scene.valid() || !table) return state.SkipWithError("the scene is not as it should be");
  bool right = true;
  for (auto _ : state) {
    state.PauseTiming();
    {
      scene.insert_into(*table);
      dedupe::Roles roles;
      dedupe::Counters counters;
      dedupe::MatchStage stage(scene.parts(*table, roles, counters), dedupe::PassKind::kQuick,
                               scene.window());
      dedupe::Batch batch = scene.batch();
      state.ResumeTiming();
      stage.run(batch);
      state.PauseTiming();
      right = right && is_right(batch, scene);
    }
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kExtents));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kExtents * kExtentBytes));
  if (!right) state.SkipWithError("copies or unique extents are not taken for what they are");
}
BENCHMARK(match_batch)->Arg(0)->Arg(50)->Arg(100);

}  // namespace
}  // namespace skep::bench
