// SPDX-License-Identifier: MIT
#include "skep/dedupe/explainer.h"

#include <limits>

#include "skep/dedupe/content_marks.h"
#include "skep/dedupe/file_filter.h"
#include "skep/dedupe/fingerprint_stage.h"
#include "skep/dedupe/keeper_catalog.h"
#include "skep/dedupe/match_stage.h"
#include "skep/dedupe/metadata_price.h"
#include "skep/dedupe/phase_gate.h"
#include "skep/dedupe/plan_stage.h"
#include "skep/dedupe/resolver.h"
#include "skep/dedupe/roles.h"
#include "skep/dedupe/run_finder.h"
#include "skep/index/content_cache.h"

namespace skep::dedupe {
// What serves for all extents.
struct Explainer::Shared {
  Shared(btrfs::Filesystem& f, const index::Fingerprinter& fp, index::Table& t, const Options& o,
         Done d)
      : fs(f),
        fingerprinter(fp),
        table(t),
        options(o),
        done(d),
        contents(fp, f.info().block_size),
        filter(f, o.filter),
        resolver(f, gate, counters, o.filter.any_of_files() ? &filter : nullptr),
        loader({f, fp, contents, resolver, counters, o}),
        strangers(fp, f.info().block_size, counters) {
    marks.mark_all();
  }

  btrfs::Filesystem& fs;
  const index::Fingerprinter& fingerprinter;
  index::Table& table;
  const Options options;
  const Done done;
  Counters counters;
  PhaseGate gate;
  index::ContentCache contents;
  FileFilter filter;
  Resolver resolver;
  FingerprintStage loader;
  Strangers strangers;
  ContentMarks marks;
};

// One look at one extent. Roles and prices are its own: what it decides holds for nobody else.
struct Explainer::Look {
  Look(Shared& shared, PassKind pass)
      : s(shared),
        kind(pass),
        catalog(s.fs, s.resolver),
        price(s.fs),
        match({s.fs, s.fingerprinter, s.table, s.contents, s.loader, s.resolver, roles, s.strangers,
               s.counters, s.options},
              kind, window()),
        plan({s.fs, s.fingerprinter, s.table, s.contents, s.resolver, catalog, price, roles,
              s.strangers, s.counters, s.options, [] {}}) {}

  Window window() const {
    return {kind == PassKind::kQuick ? s.done.quick : s.done.deep,
            std::numeric_limits<std::uint64_t>::max()};
  }
  // `found` gets the extent with its fingerprints. False when this pass does not speak of it, or
  // puts it off until others had their turn.
  absl::StatusOr<bool> run(const btrfs::Extent& extent, std::uint32_t tier,
                           FingerprintedExtent& found, Explanation& out);
  void put_back(const Match& taken_up);

  Shared& s;
  const PassKind kind;
  Roles roles;
  KeeperCatalog catalog;
  MetadataPrice price;
  MatchStage match;
  PlanStage plan;
};

// What the match stage took out of the table.
void Explainer::Look::put_back(const Match& taken_up) {
  const FingerprintedExtent& victim = taken_up.victim;
  const std::uint64_t block = s.fs.info().block_size;
  for (std::size_t i = 0; i < victim.blocks.size(); ++i) {
    if (s.fingerprinter.is_zero(victim.blocks[i])) continue;
    s.table.insert(victim.blocks[i], victim.cell_address(i, block));
  }
  for (std::size_t i = 0; i < victim.stored.size(); ++i) {
    s.table.insert(victim.stored[i], victim.extent.address + i * block);
  }
}

absl::StatusOr<bool> Explainer::Look::run(const btrfs::Extent& extent, std::uint32_t tier,
                                          FingerprintedExtent& found, Explanation& out) {
  Batch batch;
  batch.tier = tier;
  batch.revisit = tier == kTierMinBytes.size();
  batch.extents.push_back(extent);
  Unjudged unjudged;
  auto status = s.loader.run(batch, kind, s.marks, 0, unjudged);
  if (!status.ok()) return status;
  if (batch.fingerprinted.empty()) return false;
  found = batch.fingerprinted.front();
  match.run(batch);
  const std::vector<Match> matches = batch.matches;
  status = plan.run(batch);
  for (const Match& one : matches) put_back(one);
  if (!status.ok()) return status;
  for (const ReplacementPlan& one : batch.plans) {
    if (one.victim.address != extent.address) continue;
    out.verdict = Verdict::kFreed;
    out.copied_bytes = one.copied_bytes;
    return true;
  }
  for (const Left& one : batch.left) {
    if (one.extent.address != extent.address) continue;
    out.verdict = one.verdict;
    return true;
  }
  return false;
}

Explainer::Explainer(btrfs::Filesystem& fs, const index::Fingerprinter& fingerprinter,
                     index::Table& table, const Options& options, Done done)
    : shared_(std::make_unique<Shared>(fs, fingerprinter, table, options, done)) {}

Explainer::~Explainer() = default;

// As a pass of this kind meets it; when that puts it off, as when it meets it again.
absl::StatusOr<bool> Explainer::look(PassKind kind, const btrfs::Extent& extent,
                                     FingerprintedExtent& found, Explanation& out) {
  for (const std::uint32_t tier :
       {tier_of(extent.length), static_cast<std::uint32_t>(kTierMinBytes.size())}) {
    auto told = Look(*shared_, kind).run(extent, tier, found, out);
    if (!told.ok() || *told) return told;
    if (kind == PassKind::kDeepPlain) break;  // which leaves it to the quick pass to speak
  }
  return false;
}

// What of it is stored elsewhere, whoever may be shared with.
void Explainer::find_runs(const FingerprintedExtent& found, Explanation& out) {
  Shared& s = *shared_;
  Roles roles;
  RunFinder finder(
      {s.fs, s.fingerprinter, s.table, s.contents, s.loader, roles, s.strangers, s.counters});
  const auto anybody = [](const Keeper&, std::uint64_t) { return true; };
  finder.begin(found);
  finder.find(found, 0, static_cast<std::uint32_t>(found.blocks.size()), anybody, out.runs);
  if (out.runs.empty() && found.compressed()) {
    if (const auto alike = finder.find_alike(found, anybody)) out.runs.push_back(*alike);
  }
  for (const index::Fingerprint fingerprint : found.blocks) {
    if (s.fingerprinter.is_zero(fingerprint)) out.zero_bytes += s.fs.info().block_size;
  }
}

absl::StatusOr<Explanation> Explainer::explain(const btrfs::Extent& extent) {
  const Shared& s = *shared_;
  Explanation out;
  FingerprintedExtent found;
  absl::StatusOr<bool> told = false;
  if (s.fingerprinter.kind() == index::FingerprintKind::kCsum) {
    told = look(PassKind::kQuick, extent, found, out);
    if (!told.ok()) return told.status();
  }
  const bool goes = *told && out.verdict == Verdict::kFreed;
  if (!goes && s.options.depth == Depth::kDeep) {
    // What has to be read, and what may equal that. Of the latter the first pass has spoken.
    Explanation deep;
    FingerprintedExtent read;
    for (const PassKind kind : {PassKind::kDeepRead, PassKind::kDeepPlain}) {
      const auto more = look(kind, extent, read, deep);
      if (!more.ok()) return more.status();
      if (!read.blocks.empty()) found = read;
      if (!*more) continue;
      out = deep;
      break;
    }
  }
  find_runs(found, out);
  return out;
}

}  // namespace skep::dedupe
