// SPDX-License-Identifier: MIT
#include "skep/dedupe/settle_stage.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

constexpr std::size_t kSettlePageBuffer = 64 << 10;

std::int64_t metadata_on_disk(btrfs::Filesystem& fs) {
  auto space = fs.space();
  if (!space.ok()) return -1;
  return static_cast<std::int64_t>(space->metadata.used * space->metadata.copies);
}

// What may be another one a moment later: a balance moves the extent, a file of it or of its keeper
// is being written, a snapshot was taken meanwhile, memory was short.
bool worth_a_retry(Verdict verdict) {
  return verdict == Verdict::kUnreferenced || verdict == Verdict::kChanged ||
         verdict == Verdict::kFailed;
}

}  // namespace

SettleStage::SettleStage(Parts parts, Cursor start)
    : p_(std::move(parts)),
      metadata_used_(metadata_on_disk(p_.fs)),
      settled_(start),
      cursor_(start) {}

absl::Status SettleStage::run(Batch& batch) {
  {
    const Stopwatch watch(p_.counters.nanos_settle);
    for (const Left& left : batch.left) {
      leave(left.extent.address, left.extent.length, left.verdict);
    }
    // Before anybody finds them.
    if (!batch.new_blocks.empty()) p_.kept();
    for (const NewBlock& block : batch.new_blocks) {
      p_.table.insert(block.fingerprint, block.address);
    }
    for (const NewReference& reference : batch.new_references) p_.catalog.add(reference);
    for (const Outcome& outcome : batch.outcomes) settle(outcome);
    // What is marked or revisited was counted when the crawl met it.
    if (batch.tier < kTierMinBytes.size()) p_.counters.bytes_progress += batch.bytes;
    advance(batch);
  }
  // Early where metadata is at stake: the price is learned from what is seen.
  const bool due = unverified_.size() >= limits::kUnverified ||
                   estimated_price_ >= limits::kPriceUnverified ||
                   (p_.stores_soon && p_.stores_soon());
  return due ? verify() : absl::OkStatus();
}

// What is to be retried leaves the pipeline when it is revisited.
void SettleStage::leave(std::uint64_t address, std::uint64_t length, Verdict verdict) {
  if (worth_a_retry(verdict) && p_.roles.defer(address, length, verdict)) {
    --p_.counters.extents_scanned;
    p_.counters.bytes_scanned -= length;
    return;
  }
  p_.counters.leave(verdict, length);
}

void SettleStage::settle(const Outcome& outcome) {
  p_.catalog.forget(outcome.victim.address, outcome.victim.length);
  if (outcome.begun) settle_begun(outcome);
  const bool goes = outcome.begun && outcome.verdict == Verdict::kFreed;
  if (!goes) p_.roles.clear_going(outcome.victim.address);
  // Last, as when a plan is refused.
  for (const std::uint64_t keeper : outcome.keepers) p_.roles.unpin(keeper);
}

void SettleStage::settle_begun(const Outcome& outcome) {
  uncommitted_ = true;
  p_.counters.bytes_copied += outcome.copied_bytes;
  if (outcome.verdict == Verdict::kFreed) {
    p_.counters.fragments += outcome.fragments;
    estimated_price_ += outcome.price_bytes;
    unverified_.push_back({outcome.victim.address, outcome.victim.length, outcome.victim.generation,
                           outcome.duplicate_bytes, outcome.zero_bytes});
    return;
  }
  spdlog::debug("extent {:#x} (+{}): {}", outcome.victim.address, outcome.victim.length,
                name_of(outcome.verdict));
  leave(outcome.victim.address, outcome.victim.length, outcome.verdict);
  p_.kept();
  for (const NewBlock& block : outcome.victim_blocks) {
    p_.table.insert(block.fingerprint, block.address);
  }
}

void SettleStage::advance(const Batch& batch) {
  ahead_[batch.number] = {{batch.tier, batch.next_address}, batch.dropped};
  for (auto it = ahead_.begin(); it != ahead_.end() && it->first == next_batch_;
       it = ahead_.erase(it), ++next_batch_) {
    blocked_ = blocked_ || it->second.dropped;
    if (!blocked_) settled_ = it->second.cursor;
  }
  if (!uncommitted_) cursor_ = settled_;
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
  cursor_ = settled_;
  learn_price(before);
  return check_endings();
}

absl::Status SettleStage::check_endings() {
  std::sort(unverified_.begin(), unverified_.end(),
            [](const Ending& a, const Ending& b) { return a.address < b.address; });
  auto ending = unverified_.begin();
  while (ending != unverified_.end()) {
    auto page = p_.fs.extents(ending->address, unverified_.back().address, kSettlePageBuffer);
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
  if (gone) {
    p_.roles.clear_going(ending.address);
    p_.counters.bytes_gone += ending.length;
    p_.counters.bytes_duplicate += ending.duplicate_bytes;
    p_.counters.bytes_zero += ending.zero_bytes;
    p_.counters.leave(Verdict::kFreed, ending.length);
    return;
  }
  // A reference that nobody named: a snapshot taken meanwhile, a file being deleted.
  spdlog::debug("extent {:#x} (+{}): references replaced, still there", ending.address,
                ending.length);
  ++p_.counters.not_gone;
  leave(ending.address, ending.length, Verdict::kChanged);
  p_.kept();
  p_.roles.clear_going(ending.address);
}

}  // namespace skep::dedupe
