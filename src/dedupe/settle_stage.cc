// SPDX-License-Identifier: MIT
#include "skep/dedupe/settle_stage.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

constexpr std::size_t kPageBuffer = 64 << 10;

std::int64_t metadata_on_disk(btrfs::Filesystem& fs) {
  auto space = fs.space();
  if (!space.ok()) return -1;
  return static_cast<std::int64_t>(space->metadata.used * space->metadata.copies);
}

}  // namespace

SettleStage::SettleStage(Parts parts, Cursor start)
    : p_(std::move(parts)), metadata_used_(metadata_on_disk(p_.fs)), cursor_(start) {}

absl::Status SettleStage::run(Batch& batch) {
  {
    const Stopwatch watch(p_.counters.nanos_settle);
    for (const Left& left : batch.left) p_.counters.leave(left.verdict, left.extent.length);
    for (const NewBlock& block : batch.new_blocks) {
      p_.table.insert(block.fingerprint, block.address);
    }
    for (const NewReference& reference : batch.new_references) p_.catalog.add(reference);
    for (const Outcome& outcome : batch.outcomes) settle(outcome);
    if (!batch.new_blocks.empty()) p_.kept();
    // What is marked or revisited was counted when the crawl met it.
    if (batch.tier < kTierMinBytes.size()) p_.counters.bytes_progress += batch.bytes;
    advance(batch);
  }
  // Early where metadata is at stake: the price is learned from what is seen.
  const bool due =
      unverified_.size() >= limits::kUnverified || estimated_price_ >= limits::kPriceUnverified;
  return due ? verify() : absl::OkStatus();
}

void SettleStage::settle(const Outcome& outcome) {
  for (const std::uint64_t keeper : outcome.keepers) p_.roles.unpin(keeper);
  p_.catalog.forget(outcome.victim.address);
  if (!outcome.begun) {
    p_.roles.clear_going(outcome.victim.address);
    return;
  }
  uncommitted_ = true;
  p_.counters.bytes_copied += outcome.copied_bytes;
  if (outcome.verdict == Verdict::kFreed) {
    p_.counters.bytes_duplicate += outcome.duplicate_bytes;
    p_.counters.bytes_zero += outcome.zero_bytes;
    p_.counters.fragments += outcome.fragments;
    estimated_price_ += outcome.price_bytes;
    unverified_.push_back(
        {outcome.victim.address, outcome.victim.length, outcome.victim.generation});
    return;
  }
  spdlog::debug("extent {:#x} (+{}): {}", outcome.victim.address, outcome.victim.length,
                name_of(outcome.verdict));
  p_.counters.leave(outcome.verdict, outcome.victim.length);
  p_.roles.clear_going(outcome.victim.address);
  p_.kept();
}

void SettleStage::advance(const Batch& batch) {
  ahead_[batch.number] = {{batch.tier, batch.next_address}, batch.dropped};
  for (auto it = ahead_.begin(); it != ahead_.end() && it->first == next_batch_;
       it = ahead_.erase(it), ++next_batch_) {
    blocked_ = blocked_ || it->second.dropped;
    if (!blocked_) cursor_ = it->second.cursor;
  }
}

void SettleStage::learn_price(std::int64_t metadata_before_bytes) {
  metadata_used_ = metadata_on_disk(p_.fs);
  const std::uint64_t estimated = std::exchange(estimated_price_, 0);
  if (metadata_before_bytes < 0 || metadata_used_ < 0 || estimated == 0) return;
  spdlog::debug("metadata: {} bytes estimated, {} seen", estimated,
                metadata_used_ - metadata_before_bytes);
  p_.price.learn(estimated, std::max<std::int64_t>(0, metadata_used_ - metadata_before_bytes));
}

absl::Status SettleStage::verify() {
  if (!uncommitted_) return absl::OkStatus();
  const Stopwatch watch(p_.counters.nanos_settle);
  ++p_.counters.commits;
  const std::int64_t before = metadata_used_;
  if (auto committed = p_.fs.sync(); !committed.ok()) return committed.status();
  uncommitted_ = false;
  learn_price(before);
  return check_endings();
}

absl::Status SettleStage::check_endings() {
  std::sort(unverified_.begin(), unverified_.end(),
            [](const Ending& a, const Ending& b) { return a.address < b.address; });
  auto ending = unverified_.begin();
  while (ending != unverified_.end()) {
    auto page = p_.fs.extents(ending->address, unverified_.back().address, kPageBuffer);
    if (!page.ok()) return page.status();
    auto extent = page->extents.begin();
    for (; ending != unverified_.end(); ++ending) {
      if (!page->done && ending->address >= page->next) break;  // the next page tells
      while (extent != page->extents.end() && extent->address < ending->address) ++extent;
      // A newer extent at the same address: freed, and used again.
      const bool there = extent != page->extents.end() && extent->address == ending->address &&
                         extent->generation <= ending->generation;
      conclude(*ending, !there);
    }
  }
  unverified_.clear();
  return absl::OkStatus();
}

void SettleStage::conclude(const Ending& ending, bool gone) {
  p_.roles.clear_going(ending.address);
  if (gone) {
    p_.counters.bytes_gone += ending.length;
    p_.counters.leave(Verdict::kFreed, ending.length);
    return;
  }
  // A reference that nobody named: a snapshot taken meanwhile, a file being deleted.
  spdlog::debug("extent {:#x} (+{}): references replaced, still there", ending.address,
                ending.length);
  ++p_.counters.not_gone;
  p_.counters.leave(Verdict::kChanged, ending.length);
  p_.kept();
}

}  // namespace skep::dedupe
