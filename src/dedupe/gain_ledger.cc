// SPDX-License-Identifier: MIT
#include "skep/dedupe/gain_ledger.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

namespace skep::dedupe {
namespace {

constexpr std::size_t kTiers = kTierMinBytes.size();
// Standard errors on each side that hold the truth 95 times of a hundred.
constexpr double kConfidence = 1.96;
constexpr char kOthers[] = "(others)";

std::uint64_t rounded(double bytes) {
  return static_cast<std::uint64_t>(std::llround(std::max(0.0, bytes)));
}

void add_to(std::map<std::string, double>& places, const std::string& path, double bytes) {
  const bool room = places.size() < GainLedger::kMostPlaces || places.contains(path);
  places[room ? path : kOthers] += bytes;
}

std::vector<PlaceGain> most_first(const std::map<std::string, double>& places, double scale) {
  std::vector<PlaceGain> out;
  out.reserve(places.size());
  for (const auto& [path, bytes] : places) out.push_back({path, rounded(bytes * scale)});
  std::stable_sort(out.begin(), out.end(),
                   [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  return out;
}

constexpr bool is_large(std::size_t tier) { return kTierMinBytes[tier] >= Sample::kLargeBytes; }

using TierNumbers = std::array<double, kTiers>;
using OfStretches = absl::flat_hash_map<std::uint64_t, TierNumbers>;

// By tier: bytes there are, and those of them that were looked at.
struct Looked {
  TierNumbers there{}, seen{};
  std::size_t stretches = 0;
};

Looked looked_at(const Stretches& all, const Sample& sample) {
  Looked out;
  for (const auto& [stretch, census] : all) {
    const bool chosen = sample.chooses(stretch);
    out.stretches += chosen ? 1 : 0;
    for (std::size_t t = 0; t < kTiers; ++t) {
      const auto bytes = static_cast<double>(census.bytes[t]);
      out.there[t] += bytes;
      if (chosen || is_large(t)) out.seen[t] += bytes;
    }
  }
  return out;
}

// The variance of what is freed in all, from how much the chosen stretches differ from the rates.
double variance_of(const Stretches& all, const Sample& sample, const Looked& looked,
                   const OfStretches& gains, const TierNumbers& scale, const TierNumbers& freed) {
  double squares = 0;
  for (const auto& [stretch, census] : all) {
    if (!sample.chooses(stretch)) continue;
    const auto found = gains.find(stretch);
    double differs = 0;
    for (std::size_t t = 0; t < kTiers; ++t) {
      if (is_large(t)) continue;
      const double rate = looked.seen[t] > 0 ? freed[t] / looked.seen[t] : 0;
      const double gained = found == gains.end() ? 0 : found->second[t];
      differs += scale[t] * (gained - rate * static_cast<double>(census.bytes[t]));
    }
    squares += differs * differs;
  }
  const double left_out = 1 - 1 / static_cast<double>(sample.one_in());
  const auto n = static_cast<double>(std::max<std::size_t>(looked.stretches, 2));
  return left_out * n / (n - 1) * squares;
}

}  // namespace

GainLedger::GainLedger(btrfs::Filesystem* fs)
    : top_folders_(fs == nullptr ? nullptr : std::make_unique<TopFolders>(*fs)) {}

// What a victim frees is freed once all its references are replaced: each subvolume and folder has
// an equal part in it.
void GainLedger::add_places(const ReplacementPlan& plan, double net) {
  std::vector<btrfs::FileKey> files;
  for (const Share& share : plan.shares) {
    if (files.size() == kMostFiles) break;
    if (std::find(files.begin(), files.end(), share.target) != files.end()) continue;
    files.push_back(share.target);
  }
  for (const btrfs::FileKey file : files) {
    const auto place = top_folders_->of(file);
    const double part = net / static_cast<double>(files.size());
    add_to(subvolumes_, place ? place->subvolume : kOthers, part);
    add_to(folders_, place ? place->folder : kOthers, part);
  }
}

void GainLedger::add(const ReplacementPlan& plan) {
  const auto length = static_cast<double>(plan.victim.length);
  const auto copied = static_cast<double>(plan.copied_bytes);
  const double net = length - copied;
  absl::MutexLock lock(&mutex_);
  ++extents_;
  (plan.copied_bytes == 0 ? whole_ : part_) += net;
  zeros_ += static_cast<double>(plan.zero_bytes);
  unused_ += std::max(0.0, net - static_cast<double>(plan.duplicate_bytes));
  copied_ += copied;
  metadata_ += static_cast<double>(plan.price_bytes);
  if (ImaginedFilesystem::is_copy(plan.victim.address)) {
    of_copies_ += net;
    return;
  }
  by_stretch_[Sample::stretch_of(plan.victim.address)][tier_of(plan.victim.length)] += net;
  if (top_folders_ != nullptr) add_places(plan, net);
}

GainTotals GainLedger::totals(const Stretches& all, const Sample& sample) const {
  absl::MutexLock lock(&mutex_);
  const Looked looked = looked_at(all, sample);
  const auto one_in = static_cast<double>(sample.one_in());
  // A role swap or a second look can bring up extents of stretches that were not chosen.
  OfStretches gains;
  TierNumbers freed{}, scale{};
  for (const auto& [stretch, tiers] : by_stretch_) {
    TierNumbers& sum = gains[sample.chosen_for(stretch)];
    for (std::size_t t = 0; t < kTiers; ++t) {
      sum[t] += tiers[t];
      freed[t] += tiers[t];
    }
  }
  double sampled = of_copies_, total = of_copies_;
  for (std::size_t t = 0; t < kTiers; ++t) {
    scale[t] = looked.seen[t] > 0 ? looked.there[t] / looked.seen[t] : is_large(t) ? 1 : one_in;
    sampled += freed[t];
    total += freed[t] * scale[t];
  }
  const double of_all = sampled > 0 ? total / sampled : one_in;
  GainTotals out;
  out.freed_bytes = rounded(total);
  out.margin_bytes =
      rounded(kConfidence * std::sqrt(variance_of(all, sample, looked, gains, scale, freed)));
  out.whole_bytes = rounded(whole_ * of_all);
  out.part_bytes = rounded(part_ * of_all);
  out.zero_bytes = rounded(zeros_ * of_all);
  out.unused_bytes = rounded(unused_ * of_all);
  out.extents = rounded(static_cast<double>(extents_) * of_all);
  out.copied_bytes = rounded(copied_ * of_all);
  out.metadata_bytes = rounded(metadata_ * of_all);
  out.subvolumes = most_first(subvolumes_, of_all);
  out.folders = most_first(folders_, of_all);
  return out;
}

}  // namespace skep::dedupe
