// SPDX-License-Identifier: MIT
//
// The table, half full: what each block of the crawl costs.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>

#include "bench_support.h"
#include "skep/index/table.h"

namespace skep::bench {
namespace {

using index::Fingerprint;

constexpr std::uint64_t kTableBytes = 4ULL << 20;
// Inserted or erased between two looks at the clock: less than 1 % of the cells.
constexpr std::uint64_t kBatch = 4096;

// The n-th of a series without repetition.
Fingerprint fingerprint_of(std::uint64_t n) { return index::mix(n + 1); }
std::uint64_t address_of(std::uint64_t n) { return (n + 1) * kBlock; }

// Inserts the first half of the series; returns how many, 0 when something is wrong.
std::uint64_t fill_half(const TemporaryTable& table) {
  if (!table) return 0;
  const std::uint64_t count = table->usage().capacity / 2;
  for (std::uint64_t n = 0; n < count; ++n) table->insert(fingerprint_of(n), address_of(n));
  const auto usage = table->usage();
  return usage.cells == count && usage.level == 0 ? count : 0;
}

void table_find_hit(benchmark::State& state) {
  const TemporaryTable table(kTableBytes);
  const std::uint64_t count = fill_half(table);
  if (count == 0) return state.SkipWithError("the table is not half full");
  std::uint64_t n = 0, hits = 0;
  for (auto _ : state) {
    const auto found = table->find(fingerprint_of(n));
    hits += std::find(found.begin(), found.end(), address_of(n)) != found.end();
    if (++n == count) n = 0;
  }
  state.SetItemsProcessed(state.iterations());
  if (hits != static_cast<std::uint64_t>(state.iterations())) {
    state.SkipWithError("what was inserted is not found");
  }
}
BENCHMARK(table_find_hit);

void table_find_miss(benchmark::State& state) {
  const TemporaryTable table(kTableBytes);
  const std::uint64_t count = fill_half(table);
  if (count == 0) return state.SkipWithError("the table is not half full");
  std::uint64_t n = count, strangers = 0;
  for (auto _ : state) {
    const auto found = table->find(fingerprint_of(n++));
    strangers += !found.empty();
  }
  state.SetItemsProcessed(state.iterations());
  // Tags meet strangers 256 times in 2^22 look-ups, 16,384 apart.
  if (strangers > static_cast<std::uint64_t>(state.iterations()) / 1000 + 3) {
    state.SkipWithError("what was never inserted is found");
  }
}
BENCHMARK(table_find_miss);

// In a table that has grown (or shrunk and grown again) to the size of the others: what the places
// of former sizes cost.
void table_find_resized(benchmark::State& state, std::uint64_t first_bytes,
                        std::uint64_t second_bytes, bool hit) {
  TemporaryTable table(first_bytes);
  if (!table) return state.SkipWithError("no table");
  const std::uint64_t count = kTableBytes / sizeof(std::uint64_t) / 4;
  for (std::uint64_t n = 0; n < count / 2; ++n) table->insert(fingerprint_of(n), address_of(n));
  if (!table.reopen(second_bytes) || !table.reopen(kTableBytes)) {
    return state.SkipWithError("not resized");
  }
  const std::uint64_t old = table->usage().cells;
  for (std::uint64_t n = count / 2; n < count; ++n) table->insert(fingerprint_of(n), address_of(n));
  if (table->usage().cells != old + count / 2) return state.SkipWithError("not filled");
  std::uint64_t n = count / 2, found = 0;
  for (auto _ : state) {
    found += table->find(fingerprint_of(hit ? n : n + count)).size();
    if (++n == count) n = count / 2;
  }
  state.SetItemsProcessed(state.iterations());
  if ((found != 0) != hit && found > 1000) state.SkipWithError("found the wrong ones");
}
void table_find_hit_grown(benchmark::State& state) {
  table_find_resized(state, 1 << 20, 1 << 20, true);
}
void table_find_miss_grown(benchmark::State& state) {
  table_find_resized(state, 1 << 20, 1 << 20, false);
}
void table_find_hit_shrunk_and_grown(benchmark::State& state) {
  table_find_resized(state, 4 << 20, 128 << 10, true);
}
void table_find_miss_shrunk_and_grown(benchmark::State& state) {
  table_find_resized(state, 4 << 20, 128 << 10, false);
}
BENCHMARK(table_find_hit_grown);
BENCHMARK(table_find_miss_grown);
BENCHMARK(table_find_hit_shrunk_and_grown);
BENCHMARK(table_find_miss_shrunk_and_grown);

// Each turn takes another batch, so that neither caches nor branch predictors know it.
void table_insert(benchmark::State& state) {
  const TemporaryTable table(kTableBytes);
  const std::uint64_t count = fill_half(table);
  if (count == 0) return state.SkipWithError("the table is not half full");
  std::uint64_t first = count;
  for (auto _ : state) {
    const std::uint64_t end = first + kBatch;
    for (std::uint64_t n = first; n < end; ++n) table->insert(fingerprint_of(n), address_of(n));
    state.PauseTiming();
    if (table->usage().cells != count + kBatch) {
      state.SkipWithError("not all were inserted");
      break;
    }
    for (std::uint64_t n = first; n < end; ++n) table->erase(fingerprint_of(n), address_of(n));
    first = end;
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kBatch));
}
BENCHMARK(table_insert);

void table_erase(benchmark::State& state) {
  const TemporaryTable table(kTableBytes);
  const std::uint64_t count = fill_half(table);
  if (count == 0) return state.SkipWithError("the table is not half full");
  std::uint64_t first = 0;
  for (auto _ : state) {
    const std::uint64_t end = first + kBatch;
    for (std::uint64_t n = first; n < end; ++n) table->erase(fingerprint_of(n), address_of(n));
    state.PauseTiming();
    if (table->usage().cells != count - kBatch) {
      state.SkipWithError("not all were erased");
      break;
    }
    for (std::uint64_t n = first; n < end; ++n) table->insert(fingerprint_of(n), address_of(n));
    first = end + kBatch <= count ? end : 0;
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kBatch));
}
BENCHMARK(table_erase);

}  // namespace
}  // namespace skep::bench
