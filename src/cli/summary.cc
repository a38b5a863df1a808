// SPDX-License-Identifier: MIT
#include "summary.h"

#include <fmt/format.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "skep/service/json_text.h"
#include "skep/service/sizes.h"
#include "summary_head.h"
#include "text.h"
#include "verdict_text.h"

namespace skep::cli {
namespace {

using dedupe::Counters;
using dedupe::Verdict;
using service::format_size;

constexpr auto kVerdicts = static_cast<std::size_t>(Verdict::kCount);

std::string left_text(const Counters& counters) {
  std::string out;
  for (std::size_t v = 0; v < kVerdicts; ++v) {
    const auto verdict = static_cast<Verdict>(v);
    const auto& tally = counters.verdicts[v];
    if (verdict == Verdict::kFreed || tally.extents == 0) continue;
    out += fmt::format("    {:<20} {:>9}  {:>8}  {}\n", name_of(verdict), grouped(tally.extents),
                       format_size(tally.bytes), explain(verdict));
  }
  return out;
}

}  // namespace

std::string summary_text(const std::string& mount, const service::Summary& summary,
                         const Counters& counters) {
  const bool done = summary.result == service::Result::kDone;
  const bool failed = summary.result == service::Result::kFailed;
  const auto& freed = counters.verdicts[static_cast<std::size_t>(Verdict::kFreed)];
  std::string out = fmt::format("{}: {} {} {}, {} pass{}\n", mount,
                                done     ? "done"
                                : failed ? "failed"
                                         : summary.stop_reason,
                                done ? "in" : "after", service::format_duration(summary.seconds),
                                summary.passes, summary.passes == 1 ? "" : "es");
  const auto line = [&](std::string_view name, const std::string& value, const std::string& note) {
    out += fmt::format("  {:<12} {:>9}  {}\n", name, value, note);
  };
  line("scanned", format_size(counters.bytes_scanned),
       fmt::format("in {}", plural(counters.extents_scanned, "extent")));
  line("duplicate", format_size(counters.bytes_duplicate),
       fmt::format("of it {} zeros", format_size(counters.bytes_zero)));
  line("freed", format_size(counters.freed_bytes()),
       fmt::format("verified: {} gone, {} copied so that they could go",
                   plural(freed.extents, "extent"), format_size(counters.bytes_copied)));
  if (counters.bytes_read_contents != 0) {
    line("deep", format_size(counters.bytes_deep),
         fmt::format("of it by looking into what has to be read: {}",
                     format_size(counters.bytes_read_contents)));
  }
  line("read", format_size(counters.bytes_read_asked), "of data, to compare and copy");
  line("metadata",
       fmt::format("{}{}", summary.metadata_growth < 0 ? "-" : "+",
                   format_size(static_cast<std::uint64_t>(std::abs(summary.metadata_growth)))),
       "on disk");
  line("data in use", format_size(summary.data_used_after),
       fmt::format("{} before", format_size(summary.data_used_before)));
  line("since ever", format_size(summary.totals.bytes_freed),
       fmt::format("freed in {}", plural(summary.totals.runs, "run")));
  if (const std::string left = left_text(counters); !left.empty()) {
    out += fmt::format("  {:<22} {:>9}  {:>8}\n", "left alone", "extents", "size") + left;
  }
  if (!done && !failed) out += "  The state is saved; the same command goes on from here.\n";
  return out;
}

std::string summary_json(const std::string& mount, const service::Summary& summary,
                         const Counters& counters) {
  nlohmann::ordered_json out = summary_head(mount, summary);
  out["resumed"] = summary.resumed;
  out["seconds"] = summary.seconds;
  out["passes"] = summary.passes;
  out["extents_scanned"] = counters.extents_scanned.load();
  out["bytes_scanned"] = counters.bytes_scanned.load();
  out["bytes_duplicate"] = counters.bytes_duplicate.load();
  out["bytes_freed"] = counters.freed_bytes();
  out["bytes_copied"] = counters.bytes_copied.load();
  out["extents_freed"] =
      counters.verdicts[static_cast<std::size_t>(Verdict::kFreed)].extents.load();
  out["bytes_freed_deep"] = counters.bytes_deep.load();
  out["bytes_read"] = counters.bytes_read_asked.load();
  out["bytes_read_contents"] = counters.bytes_read_contents.load();
  out["metadata_growth_bytes"] = summary.metadata_growth;
  out["data_used_before"] = summary.data_used_before;
  out["data_used_after"] = summary.data_used_after;
  out["table"] = {{"cells", summary.table.cells},
                  {"capacity", summary.table.capacity},
                  {"sampling_level", summary.table.level}};
  out["totals"] = {{"runs", summary.totals.runs},
                   {"bytes_freed", summary.totals.bytes_freed},
                   {"bytes_copied", summary.totals.bytes_copied}};
  auto& left = out["left"] = nlohmann::ordered_json::object();
  for (std::size_t v = 0; v < kVerdicts; ++v) {
    const auto& tally = counters.verdicts[v];
    if (static_cast<Verdict>(v) == Verdict::kFreed || tally.extents == 0) continue;
    left[std::string(name_of(static_cast<Verdict>(v)))] = {{"extents", tally.extents.load()},
                                                           {"bytes", tally.bytes.load()}};
  }
  auto& others = out["counters"] = nlohmann::ordered_json::object();
  counters.for_each(
      [&](std::string_view name, std::uint64_t value) { others[std::string(name)] = value; });
  return service::json_document(out);
}

}  // namespace skep::cli
