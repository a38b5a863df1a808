// SPDX-License-Identifier: MIT
#include "skep/dedupe/counters.h"

#include <chrono>

namespace skep::dedupe {
namespace {
std::int64_t now_nanos() { return std::chrono::steady_clock::now().time_since_epoch().count(); }
}  // namespace

std::string_view name_of(Verdict verdict) {
  static constexpr std::string_view kNames[] = {
      "freed",          "unique",       "keeper",    "no_checksum",
      "compressed",     "preallocated", "nodatasum", "immutable",
      "encoded",        "system",       "excluded",  "too_many_references",
      "unreferenced",   "short_runs",   "tail_only", "copy_ratio",
      "metadata_price", "changed",      "differs",   "busy",
      "failed"};
  static_assert(std::size(kNames) == static_cast<std::size_t>(Verdict::kCount));
  return kNames[static_cast<std::size_t>(verdict)];
}

std::string_view name_of(PassKind kind) {
  static constexpr std::string_view kNames[] = {"quick", "content_scan", "deep_plain", "deep_read"};
  return kNames[static_cast<std::size_t>(kind)];
}

void Counters::leave(Verdict verdict, std::uint64_t bytes, std::uint64_t extents) {
  Tally& tally = verdicts[static_cast<std::size_t>(verdict)];
  tally.extents += extents;
  tally.bytes += bytes;
}

std::uint64_t Counters::freed_bytes() const {
  const std::uint64_t gone = bytes_gone, copied = bytes_copied;
  return gone > copied ? gone - copied : 0;
}

void Counters::for_each(absl::FunctionRef<void(std::string_view, std::uint64_t)> visit) const {
  visit("blocks_looked_up", fingerprints);
  visit("runs_from_cache", cache_hits);
  visit("runs_from_table", table_hits);
  visit("table_cells_stale", table_stale);
  visit("windows_loaded", windows_loaded);
  visit("runs_from_contents", content_hits);
  visit("contents_loaded", contents_loaded);
  visit("contents_unreadable", contents_unreadable);
  visit("lone_blocks_read", lone_read);
  visit("lone_blocks_strangers", lone_strangers);
  visit("stranger_pairs", stranger_pairs);
  visit("searches_passed_over", searches_passed_over);
  visit("role_swaps", role_swaps);
  visit("references_inline", references_inline);
  visit("references_searched", references_searched);
  visit("share_calls", share_calls);
  visit("share_ranges", share_ranges);
  visit("share_differs", share_differs);
  visit("share_retries", share_retries);
  visit("share_busy", share_busy);
  visit("fragments_added", fragments);
  visit("extents_indexed", extents_indexed);
  visit("extents_late", extents_late);
  visit("commits", commits);
  visit("extents_not_gone", not_gone);
  visit("bytes_zero", bytes_zero);
  visit("match_microseconds", nanos_match / 1000);
  visit("plan_microseconds", nanos_plan / 1000);
  visit("prefetch_microseconds", nanos_prefetch / 1000);
  visit("share_microseconds", nanos_share / 1000);
  visit("settle_microseconds", nanos_settle / 1000);
  visit("resolve_wait_microseconds", nanos_resolve_wait / 1000);
  visit("share_wait_microseconds", nanos_share_wait / 1000);
}

Stopwatch::Stopwatch(Counters::Count& nanos) : nanos_(nanos), start_(now_nanos()) {}
Stopwatch::~Stopwatch() { nanos_ += static_cast<std::uint64_t>(now_nanos() - start_); }

}  // namespace skep::dedupe
