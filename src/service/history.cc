// SPDX-License-Identifier: MIT
#include "skep/service/history.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "history_json.h"
#include "replace_file.h"
#include "skep/btrfs/status.h"

namespace skep::service {
namespace {

constexpr std::int64_t kHour = 3600, kDay = 24 * kHour, kWeek = 7 * kDay;

// Of rows that are older than `age`, one for each `step` stays. 168 rows of the first week, 83 of
// three months, 91 of two years leave room for 4 years and more.
struct Rung {
  std::int64_t age = 0, step = 0;
};
constexpr Rung kLadder[] = {{730 * kDay, 4 * kWeek}, {90 * kDay, kWeek}, {kWeek, kDay}};

std::int64_t step_at(std::int64_t age) {
  for (const Rung& rung : kLadder) {
    if (age >= rung.age) return rung.step;
  }
  return kHour;
}

History thinned(const History& rows) {
  const std::int64_t now = rows.back().time;
  const auto same_step = [&](const HistoryRow& a, const HistoryRow& b) {
    const std::int64_t step = step_at(now - a.time);
    return step == step_at(now - b.time) && a.time / step == b.time / step;
  };
  History out{rows.front()};
  for (std::size_t i = 1; i < rows.size(); ++i) {
    // The next one of the same hour, day or week says more.
    if (i + 1 < rows.size() && same_step(rows[i], rows[i + 1])) continue;
    out.push_back(rows[i]);
  }
  const std::size_t over = out.size() - std::min(out.size(), kMostHistoryRows);
  out.erase(out.begin() + 1, out.begin() + 1 + static_cast<std::ptrdiff_t>(over));
  return out;
}

}  // namespace

LeftByVerdict left_by_verdict(const dedupe::Counters& counters) {
  LeftByVerdict out{};
  for (std::size_t v = 0; v < out.size(); ++v) {
    if (static_cast<dedupe::Verdict>(v) == dedupe::Verdict::kFreed) continue;
    out[v] = {counters.verdicts[v].extents, counters.verdicts[v].bytes};
  }
  return out;
}

void add_row(History& history, HistoryRow row) {
  if (!history.empty()) row.time = std::max(row.time, history.back().time);
  history.push_back(row);
  if (history.size() > kMostHistoryRows) history = thinned(history);
}

absl::StatusOr<History> read_history(const std::string& state_dir, const btrfs::Uuid& filesystem) {
  const std::string path = state_dir + "/history.json";
  std::ifstream file(path);
  if (!file) {
    if (errno == ENOENT || errno == ENOTDIR) return History();
    return errno_status(errno, "open", path);
  }
  std::ostringstream text;
  if (!(text << file.rdbuf())) {
    // Nothing was read: it is empty, or cannot be read.
    return absl::DataLossError(fmt::format("{}: empty, or no file", path));
  }
  try {
    return history_of(text.str(), filesystem);
  } catch (const nlohmann::json::exception&) {
    return absl::DataLossError(
        fmt::format("{}: damaged, or of another version or filesystem", path));
  }
}

absl::Status write_history(const std::string& state_dir, const btrfs::Uuid& filesystem,
                           const History& history) {
  return replace_file(state_dir + "/history.json", history_json(history, filesystem),
                      Replacing::kDurably);
}

}  // namespace skep::service
