// SPDX-License-Identifier: MIT
#include "skep/dedupe/estimate.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "skep/dedupe/engine.h"
#include "skep/dedupe/imagined_apply.h"
#include "skep/dedupe/limits.h"
#include "skep/dedupe/scan.h"

namespace skep::dedupe {
namespace {

// A walk over the extent tree for each tier would take longer than anything else: 104 bytes each.
constexpr std::uint64_t kMostGathered = 1 << 18;

// The rounds that a run makes, as far as checksums decide.
class Imagination {
 public:
  Imagination(const EstimateParts& parts, const Survey& survey, index::Table& table,
              const Sample& sample, bool places, Counters& counters)
      : parts_(parts),
        table_(table),
        counters_(counters),
        survey_(survey),
        sample_(sample),
        fs_(parts.fs, parts.fingerprinter, survey.generation, sample),
        ledger_(places ? &parts.fs : nullptr),
        applier_(fs_, ledger_),
        engine_(fs_, parts.fingerprinter, table, counters, quick(parts.options, table), nullptr,
                &applier_) {}

  absl::Status run();
  GainTotals totals() const { return ledger_.totals(survey_.stretches, sample_); }

 private:
  // One thread carries plans out: there is nothing to wait for. Where the table has every block,
  // each is looked for, as in a run.
  static Options quick(Options options, const index::Table& table) {
    options.depth = Depth::kQuick;
    options.nodatasum = false;
    options.threads = 1;
    options.skim = table.usage().level > 0;
    return options;
  }
  absl::Status pass(Window window, const Census& census);

  const EstimateParts& parts_;
  index::Table& table_;
  Counters& counters_;
  const Survey& survey_;
  const Sample& sample_;
  ImaginedFilesystem fs_;
  GainLedger ledger_;
  ImaginedApply applier_;
  Engine engine_;
};

absl::Status Imagination::pass(Window window, const Census& census) {
  const auto stop = [this] { return parts_.stop.load(); };
  auto result = engine_.run_pass(PassKind::kQuick, window, {}, census, stop, [](Cursor) {});
  if (!result.status.ok()) return result.status;
  return result.complete ? absl::OkStatus() : absl::CancelledError("stopped");
}

absl::Status Imagination::run() {
  Window window{0, survey_.generation};
  Census census = census_of(survey_, sample_);
  for (int i = 0; i < limits::kPasses; ++i) {
    const std::uint64_t gone = counters_.bytes_gone;
    if (auto status = pass(window, census); !status.ok()) return status;
    if (counters_.bytes_gone == gone) break;
    auto committed = fs_.sync();
    if (!committed.ok()) return committed.status();
    window = {window.to, *committed};
    auto of_copies = scan(
        fs_, parts_.fingerprinter, window, table_, [this] { return parts_.stop.load(); }, nullptr,
        parts_.options.filter.extent_bytes);
    if (!of_copies.ok()) return of_copies.status();
    census = *of_copies;
  }
  return absl::OkStatus();
}

void count(const FingerprintedExtent& found, Survey& out) {
  const btrfs::Extent& extent = found.extent;
  ++out.extents;
  out.bytes += extent.length;
  const std::uint32_t tier = tier_of(extent.length);
  StretchCensus& stretch = out.stretches[Sample::stretch_of(extent.address)];
  ++stretch.extents[tier];
  stretch.bytes[tier] += extent.length;
  if (found.blocks.empty()) {
    ++out.no_checksum_extents;
    out.no_checksum_bytes += extent.length;
  }
  if (extent.refs < 2) return;
  out.shared_bytes += extent.length;
  out.saved_bytes += extent.length * (extent.refs - 1);
}

}  // namespace

absl::StatusOr<Survey> survey(const EstimateParts& parts, std::span<index::Table* const> tables,
                              Counters& progress) {
  Survey out;
  auto generation = parts.fs.generation();
  if (!generation.ok()) return generation.status();
  out.generation = *generation;
  auto census = scan_into(
      tables, parts.fs, parts.fingerprinter, {0, out.generation}, [&] { return parts.stop.load(); },
      nullptr, parts.options.filter.extent_bytes,
      [&](const FingerprintedExtent& found) {
        count(found, out);
        progress.bytes_progress += found.extent.length;
      });
  if (!census.ok()) return census.status();
  out.census = *census;
  return out;
}

Census census_of(const Survey& survey, const Sample& sample) {
  Census out;
  out.most_gathered = kMostGathered;
  for (const auto& [stretch, census] : survey.stretches) {
    for (std::size_t t = 0; t < kTierMinBytes.size(); ++t) {
      if (!sample.takes(stretch * Sample::kStretchBytes, kTierMinBytes[t])) continue;
      out.extents[t] += census.extents[t];
      out.bytes[t] += census.bytes[t];
    }
  }
  return out;
}

std::uint64_t default_one_in(const Survey& survey) {
  // What takes some 5 s: up to 100 us each, for its walk, its references and files, and the window
  // of the locality cache that it is found in.
  constexpr double kSmallExtents = 50'000;
  std::uint64_t small = 0;
  for (std::size_t t = 0; t < kTierMinBytes.size(); ++t) {
    if (kTierMinBytes[t] < Sample::kLargeBytes) small += survey.census.extents[t];
  }
  return std::max<std::uint64_t>(1, std::llround(static_cast<double>(small) / kSmallExtents));
}

absl::StatusOr<GainTotals> imagine(const EstimateParts& parts, const Survey& survey,
                                   index::Table& table, const Sample& sample, bool places,
                                   Counters& counters) {
  Imagination imagination(parts, survey, table, sample, places, counters);
  if (auto status = imagination.run(); !status.ok()) return status;
  return imagination.totals();
}

std::uint64_t full_table_bytes(std::uint64_t data_bytes, std::uint32_t block_size) {
  const std::uint64_t cells = data_bytes / block_size * 8 / 7;
  return std::bit_ceil(std::max<std::uint64_t>(cells * 8, index::Table::kMinBytes));
}

}  // namespace skep::dedupe
