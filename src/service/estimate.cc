// SPDX-License-Identifier: MIT
#include "skep/service/estimate.h"

#include <memory>
#include <numeric>
#include <utility>

#include "look.h"

namespace skep::service {
namespace {

// Of a part of the small extents, for all: compressed ones are small.
Unread scaled(const dedupe::Counters& counters, dedupe::Verdict verdict, std::uint64_t one_in) {
  const auto& tally = counters.verdicts[static_cast<std::size_t>(verdict)];
  return {tally.extents * one_in, tally.bytes * one_in};
}

absl::Status look(btrfs::Filesystem& fs, const EstimateOptions& options, Progress& progress,
                  const std::atomic<bool>& stop, Estimate& out) {
  const btrfs::FsInfo& info = fs.info();
  const index::Fingerprinter fingerprinter(info);
  auto space = fs.space();
  if (!space.ok()) return space.status();
  progress.begin("survey", space->data.used);
  out.filesystem = info.uuid;
  out.table_bytes = options.settings.table_size_bytes;
  if (out.table_bytes == 0)
    out.table_bytes = default_table_bytes(space->data.used, info.block_size);
  auto table = table_in_memory(info, out.table_bytes);
  if (!table.ok()) return table.status();
  const dedupe::EstimateParts parts{fs, fingerprinter, options.settings.engine, stop};
  index::Table* const tables[] = {table->get()};
  auto survey = dedupe::survey(parts, tables, progress.counters);
  if (!survey.ok()) return survey.status();
  out.survey = *std::move(survey);
  const auto sample = sample_for(options.sample_percent, dedupe::default_one_in(out.survey));
  out.one_in = sample.one_in();
  const dedupe::Census census = dedupe::census_of(out.survey, sample);
  out.looked_bytes = census.bytes_from(0);
  out.looked_extents =
      std::accumulate(census.extents.begin(), census.extents.end(), std::uint64_t{0});
  progress.begin("sample", out.looked_bytes);
  auto gains = dedupe::imagine(parts, out.survey, **table, sample, true, progress.counters);
  if (!gains.ok()) return gains.status();
  out.gains = *std::move(gains);
  out.full_table_bytes = dedupe::full_table_bytes(out.survey.bytes, info.block_size);
  out.table = (*table)->usage();
  out.compressed = scaled(progress.counters, dedupe::Verdict::kCompressed, out.one_in);
  out.bytes_read = progress.counters.bytes_read_asked;
  return absl::OkStatus();
}

}  // namespace

EstimateResult estimate(const EstimateOptions& options, Progress& progress,
                        const std::atomic<bool>& stop) {
  return look_at<Estimate>(options, [&](btrfs::Filesystem& fs, Estimate& out) {
    return look(fs, options, progress, stop, out);
  });
}

}  // namespace skep::service
