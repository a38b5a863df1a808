// SPDX-License-Identifier: MIT
#include "skep/dedupe/rounds.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "skep/dedupe/limits.h"
#include "skep/dedupe/scan.h"

namespace skep::dedupe {

Rounds::Rounds(const Parts& parts, Position& position, Hooks hooks)
    : p_(parts),
      position_(position),
      hooks_(std::move(hooks)),
      engine_(p_.fs, p_.fingerprinter, p_.table, p_.counters, p_.options, p_.pace) {}

// Asked before each page of a scan.
bool Rounds::stopped() {
  ++p_.counters.pages_scanned;
  return p_.stop;
}

void Rounds::begin(PassKind kind, Window window) {
  position_.unfinished = true;
  position_.kind = kind;
  position_.window = window;
  position_.cursor = {};
}

// The pass that the position names, from its cursor to its end.
absl::Status Rounds::pass() {
  hooks_.pass_begins();
  const std::uint64_t gone = p_.counters.bytes_gone;
  auto result = engine_.run_pass(position_.kind, position_.window, position_.cursor, census_,
                                 p_.stop, [this](Cursor cursor) {
                                   position_.cursor = cursor;
                                   hooks_.advanced();
                                 });
  position_.cursor = result.reached;
  spdlog::debug("{} pass: {} bytes gone", name_of(position_.kind), p_.counters.bytes_gone - gone);
  if (!result.status.ok()) return result.status;
  return result.complete ? absl::OkStatus() : absl::CancelledError("stopped");
}

absl::Status Rounds::quick() {
  hooks_.more_work(census_.bytes_from(position_.cursor.tier));
  return pass();
}

absl::Status Rounds::read_contents() {
  const auto stop = [this] { return stopped(); };
  hooks_.more_work(census_.bytes_from(0));
  auto status = engine_.read_contents(position_.window, position_.cursor.address, stop,
                                      [this](std::uint64_t address) {
                                        position_.cursor.address = address;
                                        hooks_.advanced();
                                      });
  if (status.ok()) position_.contents_generation = position_.window.to;
  return status;
}

absl::Status Rounds::deep(PassKind kind) {
  if (position_.kind != kind) begin(kind, position_.window);
  if (!engine_.anything_to_deepen()) return absl::OkStatus();
  if (kind == PassKind::kDeepRead) hooks_.more_work(census_.bytes_from(position_.cursor.tier));
  const std::uint64_t before = p_.counters.freed_bytes();
  auto status = pass();
  const std::uint64_t after = p_.counters.freed_bytes();
  p_.counters.bytes_deep += after - std::min(before, after);
  return status;
}

// Fills the table with the window's own blocks, so that every extent meets those that come behind.
absl::Status Rounds::take_census() {
  auto census =
      scan(p_.fs, p_.fingerprinter, position_.window, p_.table, [this] { return stopped(); });
  if (!census.ok()) return census.status();
  census_ = *census;
  spdlog::debug("generations {} to {}: {} extents", position_.window.after + 1, position_.window.to,
                std::accumulate(census_.extents.begin(), census_.extents.end(), std::uint64_t{0}));
  return absl::OkStatus();
}

// From where the position stands to the end of the deep passes.
absl::Status Rounds::round() {
  if (auto status = take_census(); !status.ok()) return status;
  position_.table_generation = std::max(position_.table_generation, position_.window.to);
  if (position_.kind == PassKind::kQuick) {
    if (p_.fingerprinter.kind() == index::FingerprintKind::kCsum) {
      if (auto status = quick(); !status.ok()) return status;
    }
    position_.done_generation = position_.window.to;
    if (p_.options.depth == Depth::kQuick) return absl::OkStatus();
    const Window seen = position_.window;
    begin(PassKind::kContentScan, {position_.deep_generation, seen.to});
    if (position_.window.after != seen.after) {
      // Earlier runs have not looked into what they went by.
      if (auto status = take_census(); !status.ok()) return status;
    }
  } else if (position_.kind != PassKind::kContentScan || position_.cursor.address != 0) {
    engine_.deepen_everything();
  }
  if (position_.kind == PassKind::kContentScan) {
    if (auto status = read_contents(); !status.ok()) return status;
  }
  if (position_.kind != PassKind::kDeepRead) {
    if (auto status = deep(PassKind::kDeepPlain); !status.ok()) return status;
  }
  auto status = deep(PassKind::kDeepRead);
  if (!status.ok()) return status;
  engine_.conclude_contents();
  position_.deep_generation = position_.window.to;
  return absl::OkStatus();
}

// Losing the table loses speed, not data: what earlier runs have seen goes back into it, before the
// first pass, so that new extents meet it.
absl::Status Rounds::refill() {
  if (!p_.table.reopened()) {
    // Noted before the refill begins: one that is cut short is done again.
    position_.table_generation = position_.contents_generation = 0;
    if (position_.unfinished && position_.kind != PassKind::kQuick) {
      begin(PassKind::kContentScan, position_.window);
    }
    hooks_.advanced();
  }
  const auto stop = [this] { return stopped(); };
  if (const std::uint64_t done = position_.done_generation; position_.table_generation < done) {
    auto census = scan(p_.fs, p_.fingerprinter, {position_.table_generation, done}, p_.table, stop);
    if (!census.ok()) return census.status();
    position_.table_generation = done;
  }
  const std::uint64_t deep = position_.deep_generation;
  if (p_.options.depth == Depth::kDeep && position_.contents_generation < deep) {
    auto status = engine_.refill_contents({position_.contents_generation, deep}, stop);
    if (!status.ok()) return status;
    position_.contents_generation = deep;
  }
  return absl::OkStatus();
}

// Extents without checksums that are asked for now, and were not before, are all still to be seen.
void Rounds::forget_what_was_done_differently() {
  if (p_.options.nodatasum && !position_.nodatasum) {
    position_.deep_generation = position_.contents_generation = 0;
    if (position_.kind != PassKind::kQuick) position_.unfinished = false;
  }
  position_.nodatasum = p_.options.nodatasum;
}

absl::Status Rounds::prepare() {
  if (prepared_) return absl::OkStatus();
  forget_what_was_done_differently();
  if (auto status = refill(); !status.ok()) return status;
  prepared_ = true;
  return absl::OkStatus();
}

bool Rounds::deepened() const {
  return p_.options.depth == Depth::kQuick ||
         position_.deep_generation >= position_.done_generation;
}

absl::StatusOr<bool> Rounds::follow(std::uint64_t to) {
  if (auto status = prepare(); !status.ok()) return status;
  if (p_.stop) return absl::CancelledError("stopped");
  if (!position_.unfinished) {
    if (to <= position_.done_generation && deepened()) return false;
    begin(PassKind::kQuick, {position_.done_generation, std::max(to, position_.done_generation)});
  }
  if (auto status = round(); !status.ok()) return status;
  position_.unfinished = false;
  return true;
}

absl::Status Rounds::run() {
  if (auto status = prepare(); !status.ok()) return status;
  for (int i = 0; i < limits::kPasses; ++i) {
    // Everything written before this instant gets its extents and its checksums.
    if (auto status = p_.fs.write_back(); !status.ok()) return status;
    auto committed = p_.fs.sync();
    if (!committed.ok()) return committed.status();
    if (p_.stop) return absl::CancelledError("stopped");
    const bool resumed = position_.unfinished;
    if (!resumed) {
      if (*committed <= position_.done_generation && deepened()) break;
      begin(PassKind::kQuick, {position_.done_generation, *committed});
    }
    const std::uint64_t gone = p_.counters.bytes_gone, copied = p_.counters.bytes_copied;
    if (auto status = round(); !status.ok()) return status;
    position_.unfinished = false;
    // Plans that differed in the end free nothing, and may leave copies that are to be looked at.
    const bool idle = p_.counters.bytes_gone == gone && p_.counters.bytes_copied == copied;
    if (!resumed && idle) break;
  }
  return absl::OkStatus();
}

}  // namespace skep::dedupe
