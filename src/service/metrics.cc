// SPDX-License-Identifier: MIT
#include "skep/service/metrics.h"

#include <fmt/format.h>

#include <string_view>

#include "replace_file.h"

namespace skep::service {
namespace {

// As status.h lists them.
constexpr std::string_view kPhases[] = {"starting", "idle",      "working", "held",
                                        "failing",  "unmounted", "stopping"};

std::string escaped(std::string_view value) {
  std::string out;
  for (const char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    out += c == '\n' ? std::string("\\n") : std::string(1, c);
  }
  return out;
}

class Text {
 public:
  explicit Text(const Status& status)
      : filesystem_(fmt::format("filesystem=\"{}\"", escaped(status.filesystem))) {}

  template <typename T>
  void counter(std::string_view name, std::string_view help, T value) {
    head(name, "counter", help);
    sample(name, "", value);
  }
  template <typename T>
  void gauge(std::string_view name, std::string_view help, T value) {
    head(name, "gauge", help);
    sample(name, "", value);
  }
  void head(std::string_view name, std::string_view type, std::string_view help) {
    out_ += fmt::format("# HELP {0} {1}\n# TYPE {0} {2}\n", name, help, type);
  }
  template <typename T>
  void sample(std::string_view name, const std::string& label, T value) {
    out_ += fmt::format("{}{{{}{}}} {}\n", name, filesystem_, label, value);
  }
  std::string take() { return std::move(out_); }

 private:
  std::string filesystem_, out_;
};

void add_totals(Text& text, const StatusTotals& totals) {
  text.counter("skep_scanned_extents_total", "Extents looked at.", totals.extents_scanned);
  text.counter("skep_scanned_bytes_total", "Length of the extents looked at.", totals.scanned);
  text.counter("skep_shared_bytes_total", "Blocks of extents that went which are stored elsewhere.",
               totals.shared);
  text.counter("skep_freed_bytes_total", "Space given back, verified, less what was copied.",
               totals.freed);
  text.counter("skep_copied_bytes_total", "Data copied so that extents could go.", totals.copied);
  text.counter("skep_read_bytes_total", "Data read, to fingerprint, compare and copy.",
               totals.read);
}

void add_table(Text& text, const Status& status) {
  text.gauge("skep_table_bytes", "Size of the fingerprint table.", status.table_bytes);
  text.gauge("skep_table_cells", "Cells of the fingerprint table in use.", status.table_cells);
  text.gauge("skep_table_capacity_cells", "Cells of the fingerprint table, all.",
             status.table_capacity);
  text.gauge("skep_table_level", "Sampling level: one block in 2^level has a cell.",
             status.table_level);
}

void add_state(Text& text, const Status& status) {
  text.head("skep_phase", "gauge", "1 for the phase that skep is in.");
  for (const auto phase : kPhases) {
    text.sample("skep_phase", fmt::format(",phase=\"{}\"", phase), status.phase == phase ? 1 : 0);
  }
  text.gauge("skep_held", "Whether skep waits for something, or is paused.",
             is_held(status) ? 1 : 0);
  text.gauge("skep_slowed", "Whether skep works with rests.", status.slowed ? 1 : 0);
  text.gauge("skep_progress_ratio", "How much of the present pass is done.", status.progress);
  text.gauge("skep_work_bytes", "Length of the extents of the present pass.", status.work_total);
  text.gauge("skep_work_done_bytes", "Length of its extents that are done.", status.work_done);
}

void add_generations(Text& text, const Status& status) {
  text.gauge("skep_generation", "Generation of the filesystem.", status.generation);
  text.gauge("skep_done_generation", "Generation up to which everything is looked at.",
             status.done_generation);
  text.gauge("skep_deep_generation", "Generation up to which what has to be read is looked at too.",
             status.deep_generation);
}

void add_times(Text& text, const Status& status) {
  text.gauge("skep_start_timestamp_seconds", "When this instance started.", status.started);
  text.gauge("skep_status_timestamp_seconds", "When these figures were taken.", status.written);
  text.gauge("skep_last_error_timestamp_seconds", "When the last error was; 0 without any.",
             status.last_error_time);
  text.gauge("skep_next_try_timestamp_seconds", "When it tries again, while failing; else 0.",
             status.next_try);
}

}  // namespace

std::string metrics_text(const Status& status) {
  Text text(status);
  text.head("skep_info", "gauge", "Always 1; the version is a label.");
  text.sample("skep_info", fmt::format(",version=\"{}\"", escaped(status.version)), 1);
  add_state(text, status);
  add_totals(text, status.since_ever);
  add_table(text, status);
  add_generations(text, status);
  add_times(text, status);
  return text.take();
}

absl::Status write_metrics(const std::string& dir, const Status& status) {
  return replace_file(fmt::format("{}/skep-{}.prom", dir, status.filesystem), metrics_text(status),
                      Replacing::kForReaders);
}

}  // namespace skep::service
