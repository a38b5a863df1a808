// SPDX-License-Identifier: MIT
//
// The locality cache over a filesystem in memory: its own work, without the kernel's.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "bench_support.h"
#include "skep/index/locality_cache.h"

namespace skep::bench {
namespace {

using index::Fingerprint;
using index::Fingerprinter;
using index::LocalityCache;

constexpr std::uint64_t kWindows = 4;

// Full windows from kWindowBytes on; null when they are not.
std::unique_ptr<btrfs::MemoryFilesystem> full_windows(std::uint64_t extent_bytes) {
  auto fs = new_filesystem(extent_bytes);
  const std::uint64_t root = fs->add_subvolume();
  fs->create(root, random_bytes(1, kWindows * kWindowBytes));
  if (!fs->sync().ok()) return nullptr;
  const auto extents = all_extents(*fs);
  if (extents.size() != kWindows * kWindowBytes / extent_bytes) return nullptr;
  if (extents.front().address != kWindowBytes) return nullptr;
  return fs;
}

// The argument is the length of the extents.
void cache_load_window(benchmark::State& state) {
  const auto fs = full_windows(static_cast<std::uint64_t>(state.range(0)));
  if (fs == nullptr) return state.SkipWithError("the filesystem is not as it should be");
  const Fingerprinter fingerprinter(fs->info());
  LocalityCache cache(*fs, fingerprinter, 2);
  std::uint64_t window = 0, known = 0;
  for (auto _ : state) {
    // Four in turn, and room for two: each is loaded anew.
    known += cache.at((1 + window) * kWindowBytes) != index::kNoFingerprint;
    if (++window == kWindows) window = 0;
  }
  state.SetItemsProcessed(state.iterations());
  const auto loads = static_cast<std::uint64_t>(state.iterations());
  if (known != loads || cache.windows_loaded() != loads || cache.errors() != 0) {
    state.SkipWithError("windows were not loaded");
  }
}
BENCHMARK(cache_load_window)->Arg(4 << 10)->Arg(64 << 10)->Arg(8 << 20);

void cache_find_hit(benchmark::State& state) {
  const auto fs = full_windows(64 << 10);
  if (fs == nullptr) return state.SkipWithError("the filesystem is not as it should be");
  const Fingerprinter fingerprinter(fs->info());
  LocalityCache cache(*fs, fingerprinter);
  std::vector<Fingerprint> blocks;
  for (std::uint64_t i = 0; i < kWindows * LocalityCache::kWindowBlocks; ++i) {
    blocks.push_back(cache.at(kWindowBytes + i * kBlock));
  }
  std::uint64_t i = 0, hits = 0;
  for (auto _ : state) {
    const std::uint64_t wanted = kWindowBytes + i * kBlock;
    cache.find(blocks[i], [&](std::uint64_t address) {
      hits += address == wanted;
      return address != wanted;
    });
    i = (i + 4099) % blocks.size();  // a prime: all blocks, far from each other
  }
  state.SetItemsProcessed(state.iterations());
  if (hits != static_cast<std::uint64_t>(state.iterations()) || cache.errors() != 0) {
    state.SkipWithError("cached blocks are not found");
  }
}
BENCHMARK(cache_find_hit);

void cache_find_miss(benchmark::State& state) {
  const auto fs = full_windows(64 << 10);
  if (fs == nullptr) return state.SkipWithError("the filesystem is not as it should be");
  const Fingerprinter fingerprinter(fs->info());
  LocalityCache cache(*fs, fingerprinter);
  for (std::uint64_t i = 1; i <= kWindows; ++i) cache.at(i * kWindowBytes);
  std::uint64_t i = 0, found = 0;
  for (auto _ : state) {
    // Not what a checksum of 32 bits is mixed to: no block has such a fingerprint.
    cache.find(index::mix(++i << 32), [&](std::uint64_t) {
      ++found;
      return true;
    });
  }
  state.SetItemsProcessed(state.iterations());
  if (found != 0 || cache.windows_loaded() != kWindows || cache.errors() != 0) {
    state.SkipWithError("blocks that are not cached are found");
  }
}
BENCHMARK(cache_find_miss);

}  // namespace
}  // namespace skep::bench
