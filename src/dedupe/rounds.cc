// SPDX-License-Identifier: MIT
#include "skep/dedupe/rounds.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "skep/dedupe/late_csums.h"
#include "skep/dedupe/limits.h"
#include "skep/dedupe/scan.h"

namespace skep::dedupe {
namespace {

constexpr std::string_view kScan = "scan";

std::uint64_t extents_of(const Census& census) {
  return std::accumulate(census.extents.begin(), census.extents.end(), std::uint64_t{0});
}

std::optional<std::uint32_t> tries_of(const std::vector<Position::Retry>& all,
                                      std::uint64_t address) {
  for (const auto& one : all) {
    if (one.address == address) return one.tries;
  }
  return std::nullopt;
}

}  // namespace

Rounds::Rounds(const Parts& parts, Position& position, Hooks hooks)
    : p_(parts),
      position_(position),
      hooks_(std::move(hooks)),
      engine_(p_.fs, p_.fingerprinter, p_.table, p_.counters, p_.options, p_.pace, nullptr,
              [this] { return hooks_.stores_soon(); }),
      busy_seen_(p_.counters.share_busy) {}

// Asked before each page of a scan.
bool Rounds::stopped() {
  ++p_.counters.pages_scanned;
  p_.fs.let_go_of_old_files();
  return p_.stop;
}

void Rounds::note_busy(std::uint64_t after) {
  const std::uint64_t busy = p_.counters.share_busy;
  if (std::exchange(busy_seen_, busy) != busy) {
    position_.busy_after = std::min(position_.busy_after.value_or(after), after);
  }
}

void Rounds::advanced() {
  note_busy(position_.window.after);
  hooks_.advanced();
}

void Rounds::note_retries() {
  auto& all = position_.retries;
  for (const std::uint64_t address : engine_.take_retries()) {
    if (all.size() == limits::kRetries) break;
    if (tries_of(all, address)) continue;
    all.push_back({address, 0});
  }
}

absl::Status Rounds::look_again() {
  looks_again_ = false;
  if (position_.retries.empty()) return absl::OkStatus();
  const auto before = position_.retries;
  std::vector<std::uint64_t> addresses;
  addresses.reserve(before.size());
  for (const auto& one : before) addresses.push_back(one.address);
  auto result = engine_.look_again(addresses, {0, position_.done_generation},
                                   [this] { return p_.stop.load(); });
  if (!result.status.ok()) return result.status;
  if (!result.complete) return absl::CancelledError("stopped");
  position_.retries.clear();
  note_retries();
  for (auto& one : position_.retries) {
    if (const auto tries = tries_of(before, one.address)) one.tries = *tries + 1;
  }
  std::erase_if(position_.retries,
                [](const auto& one) { return one.tries >= limits::kRetryTries; });
  hooks_.advanced();
  return absl::OkStatus();
}

void Rounds::take_up_left() {
  looks_again_ = true;
  if (position_.unfinished || !position_.busy_after) return;
  const std::uint64_t after = *position_.busy_after;
  position_.done_generation = std::min(position_.done_generation, after);
  position_.deep_generation = std::min(position_.deep_generation, after);
  position_.busy_after.reset();
}

void Rounds::begin(PassKind kind, Window window) {
  position_.unfinished = true;
  position_.kind = kind;
  position_.window = window;
  position_.cursor = {};
  position_.recent_generation = std::max(position_.recent_generation, window.to);
}

// A pass over a large filesystem takes hours, and who writes a copy does not want to wait for its
// end.
void Rounds::ask_for_news() {
  const auto now = std::chrono::steady_clock::now();
  if (!follows_ || turns_aside_ || now < ask_at_) return;
  ask_at_ = now + p_.ask_every;
  newest_ = hooks_.newest();
  if (newest_ <= position_.recent_generation) return;
  // To turn aside ends the pass with a commit, which is not worth it for commits without data, such
  // as skep's own.
  turns_aside_ =
      has_extents(p_.fs, {position_.recent_generation, newest_}, p_.options.filter.extent_bytes);
  if (!turns_aside_) position_.recent_generation = newest_;
}

// A quick pass over what is newer than all that was looked at. What of it has to be read is read
// with the next round.
absl::Status Rounds::look_at_news() {
  const auto begin = std::chrono::steady_clock::now();
  const Window window{position_.recent_generation, newest_};
  auto census = scan_window(window);
  if (!census.ok()) return census.status();
  hooks_.more_work(census->bytes_from(0));
  auto result = engine_.run_pass(
      PassKind::kQuick, window, {}, *census, [this] { return p_.stop.load(); }, [](Cursor) {});
  note_busy(window.after);
  note_retries();
  if (!result.status.ok()) return result.status;
  if (!result.complete) return absl::CancelledError("stopped");
  if (auto status = look_at_late(window); !status.ok()) return status;
  position_.recent_generation = window.to;
  position_.table_generation = std::max(position_.table_generation, window.to);
  if (position_.kind != PassKind::kQuick) position_.done_generation = window.to;
  hooks_.advanced();
  turns_aside_ = false;
  // Whatever it costs, the round goes on for nine tenths of the time.
  const auto now = std::chrono::steady_clock::now();
  ask_at_ = now + std::max<std::chrono::nanoseconds>(p_.ask_every, 9 * (now - begin));
  return absl::OkStatus();
}

// What the window's extents do not tell: what was written since into older ones. The first round
// sees all that is there.
absl::Status Rounds::look_at_late(Window window) {
  if (window.after == 0 || p_.fingerprinter.kind() != index::FingerprintKind::kCsum) {
    return absl::OkStatus();
  }
  const std::function<bool()> stop = [this] { return stopped(); };
  LateCsums late(p_.fs, p_.fingerprinter, p_.table, p_.options.filter.extent_bytes, p_.pace, stop);
  return late.run(window.after, [&](const std::vector<std::uint64_t>& addresses) {
    p_.counters.extents_late += addresses.size();
    spdlog::debug("{} extents have checksums that they had not when they were looked at",
                  addresses.size());
    auto result = engine_.look_at(addresses, {0, window.to}, [this] { return p_.stop.load(); });
    note_busy(window.after);
    note_retries();
    if (!result.status.ok()) return result.status;
    return result.complete ? absl::OkStatus() : absl::CancelledError("stopped");
  });
}

// The pass that the position names, from its cursor to its end.
absl::Status Rounds::pass() {
  ++passes_;
  const std::uint64_t gone = p_.counters.bytes_gone;
  for (;;) {
    auto result = engine_.run_pass(
        position_.kind, position_.window, position_.cursor, census_,
        [this] { return interrupted(); },
        [this](Cursor cursor) {
          position_.cursor = cursor;
          advanced();
          ask_for_news();
        });
    position_.cursor = result.reached;
    note_busy(position_.window.after);  // of extents that were revisited, or marked, too
    if (!result.complete && !(result.status.ok() && turns_aside_ && !p_.stop)) {
      engine_.retry_deferred();
    }
    note_retries();
    if (!result.status.ok()) return result.status;
    if (result.complete) break;
    if (p_.stop) return absl::CancelledError("stopped");
    if (auto status = look_at_news(); !status.ok()) return status;
  }
  spdlog::debug("{} pass: {} bytes gone", name_of(position_.kind), p_.counters.bytes_gone - gone);
  return absl::OkStatus();
}

absl::Status Rounds::quick() {
  hooks_.begins(name_of(PassKind::kQuick), census_.bytes_from(position_.cursor.tier));
  return pass();
}

absl::Status Rounds::read_contents() {
  hooks_.begins(name_of(PassKind::kContentScan), census_.bytes_from(0));
  for (;;) {
    auto status = engine_.read_contents(
        position_.window, position_.cursor.address, [this] { return stopped() || turns_aside_; },
        [this](std::uint64_t address) {
          position_.cursor.address = address;
          advanced();
          ask_for_news();
        });
    if (status.ok()) break;
    if (!absl::IsCancelled(status) || p_.stop) return status;
    if (status = look_at_news(); !status.ok()) return status;
  }
  position_.contents_generation = position_.window.to;
  return absl::OkStatus();
}

absl::Status Rounds::deep(PassKind kind) {
  if (position_.kind != kind) begin(kind, position_.window);
  if (!engine_.anything_to_deepen()) return absl::OkStatus();
  // Of plain extents those that are marked are looked at, which are not counted.
  const bool counted = kind == PassKind::kDeepRead;
  hooks_.begins(name_of(kind), counted ? census_.bytes_from(position_.cursor.tier) : 0);
  const std::uint64_t before = p_.counters.freed_bytes();
  auto status = pass();
  const std::uint64_t after = p_.counters.freed_bytes();
  p_.counters.bytes_deep += after - std::min(before, after);
  return status;
}

// Fills the table with the window's own blocks, so that every extent meets those that come behind.
absl::StatusOr<Census> Rounds::scan_window(Window window) {
  auto census = scan(
      p_.fs, p_.fingerprinter, window, p_.table, [this] { return stopped(); }, p_.pace,
      p_.options.filter.extent_bytes, in_table_);
  if (!census.ok()) return census;
  p_.counters.extents_indexed += census->indexed;
  spdlog::debug("generations {} to {}: {} extents", window.after + 1, window.to,
                extents_of(*census));
  return census;
}

absl::Status Rounds::take_census() {
  hooks_.begins(kScan, 0);
  auto census = scan_window(position_.window);
  if (!census.ok()) return census.status();
  census_ = *census;
  const bool begins = position_.kind == PassKind::kQuick && position_.cursor.tier == 0 &&
                      position_.cursor.address == 0;
  if (begins && position_.window.after == 0) hooks_.begins_anew(census_);
  return absl::OkStatus();
}

// From where the position stands to the end of the deep passes.
absl::Status Rounds::round() {
  if (auto status = take_census(); !status.ok()) return status;
  position_.table_generation = std::max(position_.table_generation, position_.window.to);
  if (position_.kind == PassKind::kQuick) {
    if (p_.fingerprinter.kind() == index::FingerprintKind::kCsum) {
      if (auto status = quick(); !status.ok()) return status;
      if (auto status = look_at_late(position_.window); !status.ok()) return status;
    }
    position_.done_generation = std::max(position_.window.to, position_.recent_generation);
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

// Noted before the refill begins: one that is cut short is done again.
void Rounds::note_lost_table() {
  if (p_.table.reopened()) return;
  position_.table_generation = position_.contents_generation = 0;
  if (position_.unfinished) position_.recent_generation = position_.window.to;
  if (position_.unfinished && position_.kind != PassKind::kQuick) {
    begin(PassKind::kContentScan, position_.window);
  }
  hooks_.advanced();
}

// Losing the table loses speed, not data: what earlier runs have seen goes back into it, before the
// first pass, so that new extents meet it.
absl::Status Rounds::refill() {
  note_lost_table();
  hooks_.begins(kScan, 0);
  const auto stop = [this] { return stopped(); };
  if (const std::uint64_t done = position_.done_generation; position_.table_generation < done) {
    auto census = scan(p_.fs, p_.fingerprinter, {position_.table_generation, done}, p_.table, stop,
                       p_.pace, p_.options.filter.extent_bytes);
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

// Extents that are asked for now, and were not before, are all still to be seen: those without
// checksums, and those that were excluded.
void Rounds::forget_what_was_done_differently() {
  if (p_.options.nodatasum && !position_.nodatasum) {
    position_.deep_generation = position_.contents_generation = 0;
    if (position_.kind != PassKind::kQuick) position_.unfinished = false;
  }
  position_.nodatasum = p_.options.nodatasum;
  if (lets_more_through(position_.filter, p_.options.filter)) {
    // What was excluded is not told from what was looked at.
    position_.done_generation = position_.deep_generation = 0;
    position_.table_generation = position_.contents_generation = 0;
    position_.recent_generation = 0;
    position_.unfinished = false;
  }
  position_.filter = p_.options.filter;
}

absl::Status Rounds::prepare() {
  if (prepared_) return absl::OkStatus();
  forget_what_was_done_differently();
  if (auto status = refill(); !status.ok()) return status;
  // A table that has been resized takes more, or has lost some. Of a run that was cut short the
  // table may be as a crash left it.
  const bool whole = p_.table.reopened() && p_.table.resized_from_bytes() == 0;
  in_table_ = whole && !position_.unfinished ? position_.table_generation : 0;
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
  // With fingerprints of the data there is no quick pass.
  follows_ = p_.fingerprinter.kind() == index::FingerprintKind::kCsum;
  ask_at_ = std::chrono::steady_clock::now() + p_.ask_every;
  if (!position_.unfinished) {
    if (to <= position_.done_generation && deepened()) {
      if (!looks_again_) return false;
      if (auto status = look_again(); !status.ok()) return status;
      return false;
    }
    begin(PassKind::kQuick, {position_.done_generation, std::max(to, position_.done_generation)});
  }
  if (auto status = round(); !status.ok()) return status;
  position_.unfinished = false;
  return true;
}

// Everything written before this instant gets its extents and its checksums.
absl::StatusOr<std::uint64_t> Rounds::commit() {
  if (auto status = p_.fs.write_back(); !status.ok()) return status;
  auto committed = p_.fs.sync();
  if (committed.ok() && p_.stop) return absl::CancelledError("stopped");
  return committed;
}

absl::Status Rounds::index_up_to(std::uint64_t to) {
  const bool resized = p_.table.resized_from_bytes() != 0;
  const Window window{resized ? 0 : position_.table_generation, to};
  hooks_.begins(kScan, 0);
  auto census = scan(
      p_.fs, p_.fingerprinter, window, p_.table, [this] { return stopped(); }, p_.pace,
      position_.filter.extent_bytes);
  if (!census.ok()) return census.status();
  p_.counters.extents_indexed += census->indexed;
  p_.counters.extents_scanned += extents_of(*census);
  p_.counters.bytes_scanned += census->bytes_from(0);
  position_.table_generation = std::max(position_.table_generation, to);
  return absl::OkStatus();
}

absl::Status Rounds::read_up_to(std::uint64_t to) {
  const bool begun = position_.unfinished && position_.kind != PassKind::kQuick;
  if (!begun) {
    if (to <= position_.deep_generation) return absl::OkStatus();
    position_.done_generation = std::max(position_.done_generation, to);
    begin(PassKind::kContentScan, {position_.deep_generation, to});
  }
  // A round that has come further has read all.
  if (position_.kind == PassKind::kDeepPlain || position_.kind == PassKind::kDeepRead) {
    return absl::OkStatus();
  }
  if (auto status = take_census(); !status.ok()) return status;
  if (auto status = read_contents(); !status.ok()) return status;
  position_.table_generation = std::max(position_.table_generation, position_.window.to);
  // Not judged, so not counted yet.
  p_.counters.extents_scanned = extents_of(census_);
  p_.counters.bytes_scanned = census_.bytes_from(0);
  // The round goes on behind the last extent.
  position_.cursor.address = std::numeric_limits<std::uint64_t>::max();
  return absl::OkStatus();
}

absl::Status Rounds::fill_table() {
  const bool of_data = p_.fingerprinter.kind() == index::FingerprintKind::kData;
  if (of_data) {
    if (auto status = prepare(); !status.ok()) return status;
  } else {
    // Once a run has begun, it is for runs to say what is left out.
    const bool fresh = position_.done_generation == 0 && !position_.unfinished;
    if (fresh) forget_what_was_done_differently();
    note_lost_table();
  }
  const auto committed = commit();
  if (!committed.ok()) return committed.status();
  return of_data ? read_up_to(*committed) : index_up_to(*committed);
}

absl::Status Rounds::run() {
  if (auto status = prepare(); !status.ok()) return status;
  take_up_left();
  const bool still_left = position_.busy_after.has_value();  // a pass is under way, and comes first
  if (auto status = look_again(); !status.ok()) return status;
  for (int i = 0; i < limits::kPasses; ++i) {
    const auto committed = commit();
    if (!committed.ok()) return committed.status();
    const bool resumed = position_.unfinished;
    if (!resumed) {
      if (*committed <= position_.done_generation && deepened()) break;
      begin(PassKind::kQuick, {position_.done_generation, *committed});
    }
    const std::uint64_t gone = p_.counters.bytes_gone, copied = p_.counters.bytes_copied;
    if (auto status = round(); !status.ok()) return status;
    position_.unfinished = false;
    if (resumed && still_left) take_up_left();
    // Plans that differed in the end free nothing, and may leave copies that are to be looked at.
    const bool idle = p_.counters.bytes_gone == gone && p_.counters.bytes_copied == copied;
    if (!resumed && idle) break;
  }
  return look_again();
}

}  // namespace skep::dedupe
