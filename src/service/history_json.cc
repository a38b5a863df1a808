// SPDX-License-Identifier: MIT
#include "history_json.h"

#include <nlohmann/json.hpp>

#include "whole_json.h"

namespace skep::service {
namespace {

using dedupe::SizeClasses;
using nlohmann::ordered_json;

constexpr std::size_t kVerdicts = std::tuple_size_v<LeftByVerdict>;

// Visits each total with its name, for writing and for reading.
template <typename AnyTotals, typename Visit>
void for_each_total(AnyTotals& totals, Visit visit) {
  visit("runs", totals.runs);
  visit("bytes_freed", totals.bytes_freed);
  visit("bytes_shared", totals.bytes_shared);
  visit("bytes_copied", totals.bytes_copied);
  visit("bytes_read", totals.bytes_read);
  visit("extents_scanned", totals.extents_scanned);
  visit("bytes_scanned", totals.bytes_scanned);
}

ordered_json to_json(const HistoryRow& row) {
  ordered_json out;
  out["time"] = row.time;
  for_each_total(row.totals, [&](const char* name, std::uint64_t value) { out[name] = value; });
  out["data_used"] = row.data_used;
  auto& left = out["left"] = ordered_json::object();
  for (std::size_t v = 0; v < kVerdicts; ++v) {
    if (row.left[v] == LeftAlone{}) continue;
    left[std::string(name_of(static_cast<dedupe::Verdict>(v)))] = {row.left[v].extents,
                                                                   row.left[v].bytes};
  }
  if (!row.sizes) return out;
  auto& sizes = out["sizes"] = ordered_json::array();
  for (std::size_t i = 0; i < SizeClasses::kCount; ++i) {
    sizes.push_back({row.sizes->extents[i], row.sizes->bytes[i]});
  }
  return out;
}

HistoryRow row_of(const ordered_json& in) {
  HistoryRow row;
  in.at("time").get_to(row.time);
  for_each_total(row.totals,
                 [&](const char* name, std::uint64_t& value) { in.at(name).get_to(value); });
  in.at("data_used").get_to(row.data_used);
  const ordered_json& left = in.at("left");
  for (std::size_t v = 0; v < kVerdicts; ++v) {
    const auto found = left.find(std::string(name_of(static_cast<dedupe::Verdict>(v))));
    if (found == left.end()) continue;
    found->at(0).get_to(row.left[v].extents);
    found->at(1).get_to(row.left[v].bytes);
  }
  const auto sizes = in.find("sizes");
  if (sizes == in.end()) return row;
  row.sizes.emplace();
  for (std::size_t i = 0; i < SizeClasses::kCount; ++i) {
    sizes->at(i).at(0).get_to(row.sizes->extents[i]);
    sizes->at(i).at(1).get_to(row.sizes->bytes[i]);
  }
  return row;
}

}  // namespace

std::string history_json(const History& history, const btrfs::Uuid& filesystem) {
  ordered_json head;
  head["version"] = kHistoryVersion;
  head["filesystem"] = btrfs::to_string(filesystem);
  std::string out = head.dump();
  out.back() = ',';
  out += "\n\"rows\":[";
  for (const HistoryRow& row : history) {
    out += (&row == &history.front() ? "\n" : ",\n") + to_json(row).dump();
  }
  return out + "\n]}\n";
}

History history_of(std::string_view text, const btrfs::Uuid& filesystem) {
  const ordered_json in = parse_whole_json<ordered_json>(text);
  if (in.at("version").get<int>() != kHistoryVersion) {
    throw ordered_json::other_error::create(501, "another version", nullptr);
  }
  if (in.at("filesystem").get<std::string>() != btrfs::to_string(filesystem)) {
    throw ordered_json::other_error::create(501, "another filesystem", nullptr);
  }
  History out;
  for (const ordered_json& row : in.at("rows")) {
    out.push_back(row_of(row));
    if (out.size() > 1 && out.back().time < out[out.size() - 2].time) {
      throw ordered_json::other_error::create(501, "rows out of order", nullptr);
    }
  }
  return out;
}

}  // namespace skep::service
