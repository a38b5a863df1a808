// SPDX-License-Identifier: MIT
#include "scan_summary.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>

#include "skep/service/json_text.h"
#include "skep/service/sizes.h"
#include "summary_head.h"
#include "text.h"

namespace skep::cli {
namespace {

using dedupe::Counters;
using service::Result;
using service::Summary;

double percent_used(const Summary& summary) {
  return 100.0 * static_cast<double>(summary.table.cells) /
         static_cast<double>(summary.table.capacity);
}

std::string head(const Summary& summary) {
  const std::string time = service::format_duration(summary.seconds);
  switch (summary.result) {
    case Result::kDone:
      return "the table is filled, in " + time;
    case Result::kStopped:
      return fmt::format("{} after {}", summary.stop_reason, time);
    case Result::kFailed:
      break;
  }
  return "failed after " + time;
}

}  // namespace

std::string scan_text(const std::string& mount, const Summary& summary, const Counters& counters) {
  std::string out = fmt::format("{}: {}\n", mount, head(summary));
  const auto line = [&](std::string_view name, const std::string& value, const std::string& note) {
    out += fmt::format("  {:<12} {:>9}  {}\n", name, value, note);
  };
  line("scanned", service::format_size(counters.bytes_scanned),
       fmt::format("in {}", plural(counters.extents_scanned, "extent")));
  line("read", service::format_size(counters.bytes_read_asked), "of data");
  line("cells", grouped(summary.table.cells),
       fmt::format("of {} in use, {:.1f} %", grouped(summary.table.capacity),
                   percent_used(summary)));
  line("sampling", fmt::format("level {}", summary.table.level),
       summary.table.level == 0
           ? "every block"
           : fmt::format("one block in {}", grouped(1ULL << summary.table.level)));
  if (summary.result == Result::kStopped) {
    out += "  The state is saved; the same command goes on from here.\n";
  }
  return out;
}

std::string scan_json(const std::string& mount, const Summary& summary, const Counters& counters) {
  nlohmann::ordered_json out = summary_head(mount, summary);
  out["seconds"] = summary.seconds;
  out["extents_scanned"] = counters.extents_scanned.load();
  out["bytes_scanned"] = counters.bytes_scanned.load();
  out["bytes_read"] = counters.bytes_read_asked.load();
  out["table"] = {{"cells", summary.table.cells},
                  {"capacity", summary.table.capacity},
                  {"sampling_level", summary.table.level}};
  return service::json_document(out);
}

}  // namespace skep::cli
