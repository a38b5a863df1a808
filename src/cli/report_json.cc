// SPDX-License-Identifier: MIT
#include "report_json.h"

#include <nlohmann/json.hpp>

#include "skep/service/json_text.h"
#include "status_text.h"

namespace skep::cli {
namespace {

using dedupe::SizeClasses;
using nlohmann::ordered_json;
using service::HistoryRow;
using service::Report;

ordered_json sizes_json(const HistoryRow& row) {
  ordered_json classes = ordered_json::array();
  for (std::size_t i = 0; i < SizeClasses::kCount; ++i) {
    classes.push_back({{"least_bytes", i == 0 ? 0 : SizeClasses::least_of(i)},
                       {"extents", row.sizes->extents[i]},
                       {"bytes", row.sizes->bytes[i]}});
  }
  return {{"time", row.time}, {"classes", std::move(classes)}};
}

ordered_json history_json(const service::History& history) {
  ordered_json out = ordered_json::array();
  for (const HistoryRow& row : history) {
    out.push_back({{"time", row.time},
                   {"runs", row.totals.runs},
                   {"bytes_freed", row.totals.bytes_freed},
                   {"data_used", row.data_used}});
  }
  return out;
}

ordered_json totals_json(const service::Totals& totals) {
  return {{"runs", totals.runs},
          {"extents_scanned", totals.extents_scanned},
          {"bytes_scanned", totals.bytes_scanned},
          {"bytes_shared", totals.bytes_shared},
          {"bytes_freed", totals.bytes_freed},
          {"bytes_copied", totals.bytes_copied},
          {"bytes_read", totals.bytes_read}};
}

ordered_json left_json(const service::LeftByVerdict& left) {
  ordered_json out = ordered_json::object();
  for (std::size_t v = 0; v < left.size(); ++v) {
    if (left[v].extents == 0) continue;
    out[std::string(name_of(static_cast<dedupe::Verdict>(v)))] = {{"extents", left[v].extents},
                                                                  {"bytes", left[v].bytes}};
  }
  return out;
}

ordered_json table_json(const Report& report) {
  if (!report.table) return nullptr;
  return {{"size_bytes", report.table->size_bytes},
          {"cells", report.table->usage.cells},
          {"capacity", report.table->usage.capacity},
          {"sampling_level", report.table->usage.level}};
}

}  // namespace

std::string report_json(const Report& report) {
  const HistoryRow& now = report.history.back();
  const auto sizes = service::sizes_then_and_now(report.history);
  ordered_json out;
  out["version"] = 1;
  out["skep_version"] = SKEP_VERSION;
  out["filesystem"] = btrfs::to_string(report.filesystem);
  out["mount"] = report.mount;
  out["time"] = report.time;
  out["data_used"] = now.data_used;
  out["totals"] = totals_json(now.totals);
  out["history"] = history_json(report.history);
  out["sizes_before"] = sizes.then == nullptr ? ordered_json() : sizes_json(*sizes.then);
  out["sizes_now"] = sizes.now == nullptr ? ordered_json() : sizes_json(*sizes.now);
  out["left"] = left_json(now.left);
  out["table"] = table_json(report);
  out["instance"] = report.instance ? instance_json(*report.instance) : ordered_json();
  return service::json_document(out);
}

}  // namespace skep::cli
