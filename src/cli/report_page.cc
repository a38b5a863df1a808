// SPDX-License-Identifier: MIT
#include "report_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "chart.h"
#include "html.h"
#include "report_style.h"
#include "skep/service/sizes.h"
#include "status_text.h"
#include "text.h"
#include "verdict_text.h"

namespace skep::cli {
namespace {

using dedupe::SizeClasses;
using dedupe::Verdict;
using service::format_size;
using service::HistoryRow;
using service::Report;

std::string percent(std::uint64_t part, std::uint64_t whole) {
  if (whole == 0) return "0 %";
  const double value = 100 * static_cast<double>(part) / static_cast<double>(whole);
  return fmt::format("{:.{}f} %", value, value < 9.95 ? 1 : 0);
}

std::string title_of(const Report& report) {
  return report.mount.empty() ? btrfs::to_string(report.filesystem) : report.mount;
}

std::string head(const Report& report) {
  // The policy says what the page does without: scripts, and all that is not in it.
  return fmt::format(
      "{}<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
      "style-src 'unsafe-inline'; img-src data:\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n"
      "<link rel=\"icon\" href=\"data:,\">\n<title>skep report: {}</title>\n"
      "<style>{}</style>\n</head>\n<body>\n<main>\n",
      kPageMark, html(title_of(report)), kReportStyle);
}

std::string header(const Report& report) {
  return fmt::format(
      "<header>\n<p class=\"brand\">skep report</p>\n<h1>{}</h1>\n<p class=\"soft\">btrfs{} · "
      "{}</p>\n</header>\n",
      html(title_of(report)),
      report.mount.empty() ? ", not mounted" : " " + btrfs::to_string(report.filesystem),
      date_and_time(report.time));
}

std::string tile(std::string_view kind, std::string_view name, const std::string& figure,
                 const std::string& note) {
  return fmt::format(
      "<div class=\"{}\"><dt>{}</dt><dd class=\"figure\">{}</dd><dd class=\"note\">{}</dd></div>\n",
      kind, name, figure, note);
}

std::string tiles(const Report& report) {
  const HistoryRow& first = report.history.front();
  const HistoryRow& now = report.history.back();
  const std::uint64_t freed = now.totals.bytes_freed;
  std::string out = "<dl class=\"tiles\">\n";
  out += tile("lead", "Freed since ever", format_size(freed),
              fmt::format("in {}, verified, less what was copied", plural(now.totals.runs, "run")));
  if (now.data_used != 0) {
    out += tile("", "Of what would be stored", percent(freed, freed + now.data_used),
                fmt::format("{} without skep", format_size(freed + now.data_used)));
    out += tile("", "Data in use", format_size(now.data_used),
                fmt::format("{} on {}", format_size(first.data_used), date_and_time(first.time)));
  }
  out += tile("", "Read to do it", format_size(now.totals.bytes_read),
              fmt::format("{} looked at, {} copied", format_size(now.totals.bytes_scanned),
                          format_size(now.totals.bytes_copied)));
  return out + "</dl>\n";
}

std::string chart(const std::string& svg_text) {
  return fmt::format("<div class=\"scroll\">{}</div>\n", svg_text);
}

std::string savings_table(const service::History& history) {
  std::string out =
      "<details><summary>The figures</summary>\n<div class=\"scroll\"><table>\n<thead><tr>"
      "<th scope=\"col\">Time</th><th scope=\"col\" class=\"number\">Freed since ever</th>"
      "<th scope=\"col\" class=\"number\">Data in use</th>"
      "<th scope=\"col\" class=\"number\">Runs</th></tr></thead>\n<tbody>\n";
  // The latest first.
  std::for_each(history.rbegin(), history.rend(), [&](const HistoryRow& row) {
    out += fmt::format(
        "<tr><th scope=\"row\">{}</th><td class=\"number\">{}</td><td class=\"number\">{}</td>"
        "<td class=\"number\">{}</td></tr>\n",
        date_and_time(row.time), format_size(row.totals.bytes_freed),
        row.data_used == 0 ? "" : format_size(row.data_used), grouped(row.totals.runs));
  });
  return out + "</tbody></table></div></details>\n";
}

std::string savings(const service::History& history) {
  TimeChart freed{"freed", "Freed since ever", "", {}};
  TimeChart used{"used", "Data in use", "", {}};
  for (const HistoryRow& row : history) {
    freed.points.push_back({row.time, row.totals.bytes_freed});
    if (row.data_used != 0) used.points.push_back({row.time, row.data_used});
  }
  const auto describe = [](TimeChart& c) {
    c.description =
        fmt::format("From {} on {} to {} on {}.", format_size(c.points.front().bytes),
                    date_and_time(c.points.front().time), format_size(c.points.back().bytes),
                    date_and_time(c.points.back().time));
  };
  describe(freed);
  std::string out =
      "<section>\n<h2>Savings over time</h2>\n<p class=\"soft\">Space given back: extents that are "
      "gone, less what was copied so that they could go.</p>\n<h3>Freed since ever</h3>\n" +
      chart(svg(freed));
  if (!used.points.empty()) {
    describe(used);
    out += "<h3>Data in use</h3>\n" + chart(svg(used));
  }
  return out + savings_table(history) + "</section>\n";
}

// "64K": as sizes are typed, short enough to stand below a pair of bars.
std::string short_size(std::uint64_t bytes) {
  return bytes < 1 << 20 ? fmt::format("{}K", bytes >> 10) : fmt::format("{}M", bytes >> 20);
}

std::string class_name(std::size_t i) {
  const std::uint64_t least = SizeClasses::least_of(i);
  if (i == 0) return fmt::format("below {}", format_size(2 * least));
  if (i + 1 == SizeClasses::kCount) return format_size(least);
  return fmt::format("{} to {}", format_size(least), format_size(2 * least));
}

std::string sizes_table(const HistoryRow& then, const HistoryRow& now) {
  std::string out = fmt::format(
      "<details><summary>The figures</summary>\n<div class=\"scroll\"><table>\n<thead><tr>"
      "<th scope=\"col\">Length</th><th scope=\"col\" class=\"number\">Extents, {0}</th>"
      "<th scope=\"col\" class=\"number\">now</th>"
      "<th scope=\"col\" class=\"number\">Size, {0}</th>"
      "<th scope=\"col\" class=\"number\">now</th></tr></thead>\n<tbody>\n",
      date_and_time(then.time));
  for (std::size_t i = 0; i < SizeClasses::kCount; ++i) {
    out += fmt::format(
        "<tr><th scope=\"row\">{}</th><td class=\"number\">{}</td><td class=\"number\">{}</td>"
        "<td class=\"number\">{}</td><td class=\"number\">{}</td></tr>\n",
        class_name(i), grouped(then.sizes->extents[i]), grouped(now.sizes->extents[i]),
        format_size(then.sizes->bytes[i]), format_size(now.sizes->bytes[i]));
  }
  return out + "</tbody></table></div></details>\n";
}

std::uint64_t total(const std::array<std::uint64_t, SizeClasses::kCount>& values) {
  std::uint64_t out = 0;
  for (const std::uint64_t value : values) out += value;
  return out;
}

// Of lengths that there are neither then nor now, those at the ends are left out.
PairChart pairs(const HistoryRow& then, const HistoryRow& now,
                std::array<std::uint64_t, SizeClasses::kCount> SizeClasses::*what) {
  PairChart out;
  const auto& before = then.sizes.value().*what;
  const auto& after = now.sizes.value().*what;
  std::size_t first = 0, end = SizeClasses::kCount;
  while (end - first > 1 && before[first] + after[first] == 0) ++first;
  while (end - first > 1 && before[end - 1] + after[end - 1] == 0) --end;
  for (std::size_t i = first; i < end; ++i) {
    out.pairs.push_back({short_size(SizeClasses::least_of(i)), before[i], after[i]});
  }
  out.then = date_and_time(then.time);
  out.now = "now";
  return out;
}

std::string sizes(const Report& report) {
  const auto [then, now] = service::sizes_then_and_now(report.history);
  std::string out = "<section>\n<h2>Extents by length</h2>\n";
  if (then == nullptr) {
    return out +
           "<p>The extents were not counted yet: the next run does, and so does a report by root "
           "of a filesystem that is mounted.</p>\n</section>\n";
  }
  PairChart bytes = pairs(*then, *now, &SizeClasses::bytes);
  PairChart extents = pairs(*then, *now, &SizeClasses::extents);
  bytes.id = "bytes";
  bytes.sizes = true;
  bytes.title = "Size of the extents by their length, then and now";
  bytes.description = fmt::format("{} on {}, {} on {}.", format_size(total(then->sizes->bytes)),
                                  date_and_time(then->time), format_size(total(now->sizes->bytes)),
                                  date_and_time(now->time));
  extents.id = "extents";
  extents.title = "Number of the extents by their length, then and now";
  extents.description = fmt::format("{} on {}, {} on {}.", grouped(total(then->sizes->extents)),
                                    date_and_time(then->time), grouped(total(now->sizes->extents)),
                                    date_and_time(now->time));
  out += fmt::format(
      "<p class=\"soft\">Each pair has the lengths from its label up to the next one.</p>\n"
      "<ul class=\"legend\"><li>{}: {}, {}</li><li class=\"now\">{}: {}, {}</li></ul>\n",
      date_and_time(then->time), plural(total(then->sizes->extents), "extent"),
      format_size(total(then->sizes->bytes)), date_and_time(now->time),
      plural(total(now->sizes->extents), "extent"), format_size(total(now->sizes->bytes)));
  out += "<h3>What they take</h3>\n" + chart(svg(bytes));
  out += "<h3>How many there are</h3>\n" + chart(svg(extents));
  return out + sizes_table(*then, *now) + "</section>\n";
}

// The row of now has what the one before it had.
std::string left(const service::History& history) {
  const HistoryRow& row = history.back();
  const HistoryRow& counted = history.size() > 1 ? history[history.size() - 2] : row;
  std::vector<std::pair<service::LeftAlone, Verdict>> found;
  std::uint64_t most = 0;
  for (std::size_t v = 0; v < row.left.size(); ++v) {
    if (row.left[v].extents == 0) continue;
    found.emplace_back(row.left[v], static_cast<Verdict>(v));
    most = std::max(most, row.left[v].bytes);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first.bytes > b.first.bytes; });
  std::string out = fmt::format(
      "<section>\n<h2>What was left, and why</h2>\n<p class=\"soft\">Extents that were looked at "
      "and stayed, since all were last looked at from the beginning. As of {}.</p>\n",
      date_and_time(counted.time));
  if (found.empty()) return out + "<p>Nothing is known of yet.</p>\n</section>\n";
  out +=
      "<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">Why</th>"
      "<th scope=\"col\">In a run's summary</th><th scope=\"col\" class=\"number\">Extents</th>"
      "<th scope=\"col\" class=\"number\">Size</th><td></td></tr></thead>\n<tbody>\n";
  for (const auto& [tally, verdict] : found) {
    out += fmt::format(
        "<tr><th scope=\"row\">{}</th><td><code>{}</code></td><td class=\"number\">{}</td>"
        "<td class=\"number\">{}</td><td class=\"wide\">{}</td></tr>\n",
        html(explain(verdict)), name_of(verdict), grouped(tally.extents), format_size(tally.bytes),
        meter(share_of(tally.bytes, most), 240));
  }
  return out + "</tbody></table></div>\n</section>\n";
}

// A list of names and values; values are HTML.
class Facts {
 public:
  void add(std::string_view name, const std::string& value) {
    if (value.empty()) return;
    rows_ += fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", name, value);
  }
  std::string table() const { return fmt::format("<table><tbody>\n{}</tbody></table>\n", rows_); }

 private:
  std::string rows_;
};

struct TableFacts {
  std::uint64_t bytes = 0, cells = 0, capacity = 0;
  std::uint32_t level = 0;
};

// An instance that works has the table locked, and tells of it.
std::optional<TableFacts> facts_of_table(const Report& report) {
  if (report.table) {
    return TableFacts{report.table->size_bytes, report.table->usage.cells,
                      report.table->usage.capacity, report.table->usage.level};
  }
  if (!report.instance || report.instance->status.table_capacity == 0) return std::nullopt;
  const auto& status = report.instance->status;
  return TableFacts{status.table_bytes, status.table_cells, status.table_capacity,
                    status.table_level};
}

std::string table(const Report& report) {
  std::string out = "<section>\n<h2>Fingerprint table</h2>\n";
  const auto facts = facts_of_table(report);
  if (!facts) return out + fmt::format("<p>{}</p>\n</section>\n", html(report.no_table));
  Facts list;
  list.add("Full", fmt::format("{}, {} of {} cells", percent(facts->cells, facts->capacity),
                               grouped(facts->cells), grouped(facts->capacity)));
  list.add("Size", format_size(facts->bytes) + ", in memory too while skep works");
  list.add("Sampling", facts->level == 0 ? "level 0: every block"
                                         : fmt::format("level {}: one block in {}", facts->level,
                                                       grouped(1ULL << facts->level)));
  if (report.table) {
    list.add("Made", age(report.table->created_seconds));
    list.add("Written", age(report.table->written_seconds));
  }
  return out + meter(share_of(facts->cells, facts->capacity), 400) + list.table() + "</section>\n";
}

std::string throttle(const Report& report) {
  std::string out = "<section>\n<h2>Service and throttle</h2>\n";
  if (!report.instance || !report.instance->running) {
    return out +
           "<p>Not running: no instance of skep stays with this filesystem. What is written from "
           "now on is looked at by the next run.</p>\n</section>\n";
  }
  const service::Status& status = report.instance->status;
  Facts list;
  list.add("State", html(state_in_words(status)));
  const std::string hold = html(hold_in_words(status));
  list.add(status.slowed ? "Slowed" : "Held back", hold.empty() ? "no" : hold);
  if (status.work_total != 0) {
    list.add("Progress", fmt::format("{} of {}", format_size(status.work_done),
                                     format_size(status.work_total)));
  }
  list.add("Freed", format_size(status.since_start.freed) + " since it started");
  list.add("Started", date_and_time(status.started));
  list.add("Generation", fmt::format("{} of {} looked at", grouped(status.done_generation),
                                     grouped(status.generation)));
  list.add("Last error", html(printable(status.last_error)));
  return out + list.table() + "</section>\n";
}

std::string footer() {
  return "<footer>\n<p>skep " SKEP_VERSION
         ". Times are local. This page has no names of files in it, and fetches nothing.</p>\n"
         "</footer>\n</main>\n</body>\n</html>\n";
}

}  // namespace

std::string report_page(const Report& report) {
  return head(report) + header(report) + tiles(report) + savings(report.history) + sizes(report) +
         left(report.history) + "<div class=\"pair\">\n" + table(report) + throttle(report) +
         "</div>\n" + footer();
}

}  // namespace skep::cli
