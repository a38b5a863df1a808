// SPDX-License-Identifier: MIT
#include "skep/service/tune.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "look.h"

namespace skep::service {
namespace {

constexpr std::uint64_t kLeastTried = 64ULL << 10;

using Tables = std::vector<std::unique_ptr<index::Table>>;

absl::StatusOr<Tables> make_tables(const btrfs::FsInfo& info, std::uint64_t data_bytes) {
  Tables out;
  for (const std::uint64_t bytes : table_sizes(data_bytes, info.block_size)) {
    auto table = table_in_memory(info, bytes);
    if (!table.ok()) return table.status();
    out.push_back(*std::move(table));
  }
  return out;
}

// The numbers of each try begin at 0; the user sees them all in one progress.
absl::StatusOr<TriedTable> try_table(const dedupe::EstimateParts& parts,
                                     const dedupe::Survey& survey, index::Table& table,
                                     const dedupe::Sample& sample, Progress& progress) {
  TriedTable out;
  out.usage = table.usage();
  dedupe::Counters counters;
  auto gains = dedupe::imagine(parts, survey, table, sample, false, counters);
  if (!gains.ok()) return gains.status();
  out.freed_bytes = gains->freed_bytes;
  out.margin_bytes = gains->margin_bytes;
  progress.counters.bytes_progress += dedupe::census_of(survey, sample).bytes_from(0);
  return out;
}

absl::Status look(btrfs::Filesystem& fs, const EstimateOptions& options, Progress& progress,
                  const std::atomic<bool>& stop, Tuning& out) {
  const btrfs::FsInfo& info = fs.info();
  const index::Fingerprinter fingerprinter(info);
  auto space = fs.space();
  if (!space.ok()) return space.status();
  progress.begin("survey", space->data.used);
  out.filesystem = info.uuid;
  auto tables = make_tables(info, space->data.used);
  if (!tables.ok()) return tables.status();
  const std::vector<std::uint64_t> sizes = table_sizes(space->data.used, info.block_size);
  std::vector<index::Table*> all;
  for (const auto& table : *tables) all.push_back(table.get());
  const dedupe::EstimateParts parts{fs, fingerprinter, options.settings.engine, stop};
  auto survey = dedupe::survey(parts, all, progress.counters);
  if (!survey.ok()) return survey.status();
  out.data_bytes = survey->bytes;
  out.extents = survey->extents;
  out.full_table_bytes = dedupe::full_table_bytes(survey->bytes, info.block_size);
  // All tries together may take as long as one estimate, or a little longer.
  const std::uint64_t one_in = dedupe::default_one_in(*survey);
  const auto sample = sample_for(options.sample_percent, one_in == 1 ? 1 : 2 * one_in);
  out.one_in = sample.one_in();
  progress.begin("sample", tables->size() * dedupe::census_of(*survey, sample).bytes_from(0));
  for (std::size_t i = 0; i < tables->size(); ++i) {
    auto tried = try_table(parts, *survey, *all[i], sample, progress);
    if (!tried.ok()) return tried.status();
    tried->bytes = sizes[i];
    out.tables.push_back(*tried);
    (*tables)[i].reset();
  }
  out.recommended = recommend(out.tables);
  return absl::OkStatus();
}

}  // namespace

std::uint64_t Tuning::bytes_per_tib() const {
  constexpr double kTib = 1ULL << 40;
  if (data_bytes == 0) return 0;
  return static_cast<std::uint64_t>(static_cast<double>(recommendation().bytes) /
                                    static_cast<double>(data_bytes) * kTib);
}

std::vector<std::uint64_t> table_sizes(std::uint64_t data_bytes, std::uint32_t block_size) {
  const std::uint64_t full = dedupe::full_table_bytes(data_bytes, block_size);
  std::vector<std::uint64_t> out;
  for (std::uint64_t bytes = kLeastTried;; bytes *= 4) {
    out.push_back(bytes);
    if (bytes >= full || bytes >= Tuning::kMostBytes) return out;
  }
}

std::size_t recommend(const std::vector<TriedTable>& tables) {
  std::uint64_t best = 0;
  for (const TriedTable& table : tables) best = std::max(best, table.freed_bytes);
  const auto enough = static_cast<double>(best) * (1 - Tuning::kMayMiss);
  for (std::size_t i = 0; i < tables.size(); ++i) {
    if (static_cast<double>(tables[i].freed_bytes) >= enough) return i;
  }
  return 0;
}

TuneResult tune(const EstimateOptions& options, Progress& progress, const std::atomic<bool>& stop) {
  return look_at<Tuning>(options, [&](btrfs::Filesystem& fs, Tuning& out) {
    return look(fs, options, progress, stop, out);
  });
}

}  // namespace skep::service
