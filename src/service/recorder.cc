// SPDX-License-Identifier: MIT
#include "recorder.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>

#include "skep/btrfs/status.h"
#include "skep/dedupe/scan.h"

namespace skep::service {
namespace {

constexpr std::int64_t kRowSeconds = 3600;
constexpr std::int64_t kSizesSeconds = 86'400;
// The history may lie on the filesystem that it is of, and is never as large as this. So what is
// seen of its own file, or of copies of it in snapshots, is no reason for another row: who has
// nothing else to do would write one each hour.
constexpr std::uint64_t kWorthBytes = 1ULL << 20;

bool worth_a_row(const Totals& before, const Totals& now) {
  const auto far = [](std::uint64_t a, std::uint64_t b) {
    return std::max(a, b) - std::min(a, b) >= kWorthBytes;
  };
  return far(before.bytes_freed, now.bytes_freed) || far(before.bytes_shared, now.bytes_shared) ||
         far(before.bytes_copied, now.bytes_copied) ||
         far(before.bytes_scanned, now.bytes_scanned) || far(before.bytes_read, now.bytes_read);
}

// What is left, with what was counted since.
LeftByVerdict sum(const LeftByVerdict& left, const LeftByVerdict& counted,
                  const LeftByVerdict& told) {
  LeftByVerdict out = left;
  for (std::size_t v = 0; v < out.size(); ++v) {
    out[v].extents += counted[v].extents - told[v].extents;
    out[v].bytes += counted[v].bytes - told[v].bytes;
  }
  return out;
}

}  // namespace

void Recorder::complain(const absl::Status& status) {
  if (complaint_ == message_of(status)) return;
  complaint_ = message_of(status);
  spdlog::warn("{}; reports will lack it", complaint_);
}

// Nothing when it cannot be read: then it is not to be written over.
std::optional<History> Recorder::load() {
  auto history = read_history(state_dir_, filesystem_);
  if (absl::IsDataLoss(history.status())) {
    const std::string path = state_dir_ + "/history.json";
    if (std::rename(path.c_str(), (path + ".old").c_str()) == 0) {
      spdlog::warn("{}; set aside as history.json.old, beginning anew",
                   message_of(history.status()));
      return History();
    }
    complain(errno_status(errno, "rename", path));
    return std::nullopt;
  }
  if (!history.ok()) {
    complain(history.status());
    return std::nullopt;
  }
  if (!history->empty()) last_ = history->back();
  return *std::move(history);
}

bool Recorder::due(const Totals& totals, bool caught_up) {
  if (!last_ && !load()) return false;
  if (!last_) return caught_up;  // before it, a look at everything may begin
  if (!worth_a_row(last_->totals, totals)) return false;
  if (added_ != Clock::time_point{}) {
    return Clock::now() - added_ >= std::chrono::seconds(kRowSeconds);
  }
  // A clock that was set back says nothing.
  const std::int64_t age = std::time(nullptr) - last_->time;
  return age < 0 || age >= kRowSeconds;
}

// To count them is a walk over the extent tree: once a day, and after a look at everything, which
// walks over it as well.
bool Recorder::wants_sizes(const History& history) const {
  const auto counted = std::find_if(history.rbegin(), history.rend(),
                                    [](const HistoryRow& row) { return row.sizes.has_value(); });
  return looks_at_all_ || counted == history.rend() ||
         std::time(nullptr) - counted->time >= kSizesSeconds;
}

void Recorder::add(const Now& now, std::optional<dedupe::SizeClasses> sizes, bool anew) {
  auto history = load();
  if (!history) return;
  HistoryRow row;
  row.time = std::time(nullptr);
  row.totals = now.totals;
  const LeftByVerdict counted = left_by_verdict(counters_);
  if (!anew)
    row.left = sum(history->empty() ? LeftByVerdict{} : history->back().left, counted, told_);
  if (const auto space = now.fs.space(); space.ok()) row.data_used = space->data.used;
  if (!sizes && (anew || wants_sizes(*history))) {
    // Without them the row is as good.
    if (auto found = dedupe::count_sizes(now.fs, now.stop); found.ok()) sizes = *found;
  }
  row.sizes = sizes;
  add_row(*history, row);
  if (auto status = write_history(state_dir_, filesystem_, *history); !status.ok()) {
    complain(status);
    return;
  }
  last_ = history->back();
  told_ = counted;
  added_ = Clock::now();
}

void Recorder::begin_anew(const Now& now, const std::optional<dedupe::SizeClasses>& sizes) {
  add(now, sizes, true);
  looks_at_all_ = true;
}

void Recorder::run_ended(const Now& now) { add(now, std::nullopt, false); }

void Recorder::note(const Now& now, bool caught_up) {
  const bool all_seen = caught_up && looks_at_all_;
  if (!all_seen && !due(now.totals, caught_up)) return;
  add(now, std::nullopt, false);
  if (caught_up) looks_at_all_ = false;
}

}  // namespace skep::service
