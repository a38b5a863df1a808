// SPDX-License-Identifier: MIT
#include "status_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>

#include "skep/service/json_text.h"
#include "skep/service/local_time.h"
#include "skep/service/sizes.h"
#include "text.h"

namespace skep::cli {
namespace {

using nlohmann::ordered_json;
using service::format_duration;
using service::format_size;
using service::Instance;
using service::Status;
using service::StatusTotals;

constexpr int kProgressCells = 30;

using Words = std::pair<std::string_view, std::string_view>;

constexpr Words kPhases[] = {{"starting", "starting"}, {"idle", "idle: everything is looked at"},
                             {"working", "working"},   {"held", "waiting"},
                             {"failing", "failing"},   {"unmounted", "not mounted"},
                             {"stopping", "stopping"}};
constexpr Words kParts[] = {{"scan", "reading metadata"},
                            {"quick", "by checksums"},
                            {"content_scan", "learning what compressed data holds"},
                            {"deep_plain", "deep, plain data"},
                            {"deep_read", "deep, data that has to be read"},
                            {"survey", "reading metadata"},
                            {"sample", "comparing"}};
constexpr Words kHolds[] = {{"paused", "paused; 'skep resume' lets it go on"},
                            {"io_pressure", "others wait for storage"},
                            {"cpu_pressure", "others wait for processors"},
                            {"memory_pressure", "others wait for memory"},
                            {"load", "the load average is high"},
                            {"hours", "outside its hours"},
                            {"battery", "on battery"},
                            {"read_rate", "reads no faster than it may"},
                            {"write_rate", "writes no faster than it may"},
                            {"read_budget", "has read what it may in a day"},
                            {"write_budget", "has written what it may in a day"},
                            {"metadata_space", "little room for metadata"},
                            {"read_only", "the filesystem is mounted read-only"},
                            {"other_instance", "another skep is working"},
                            {"turn", "another filesystem is worked on first"}};

// A name that this skep does not know is shown as it is.
template <std::size_t kCount>
std::string in_words(const Words (&words)[kCount], std::string_view name) {
  for (const auto& [known, text] : words) {
    if (known == name) return std::string(text);
  }
  return printable(name);
}

// Never 100 % before all is done.
double percent(double progress) { return std::floor(std::clamp(progress, 0.0, 1.0) * 1000) / 10; }

std::string bar(double progress) {
  const auto full = static_cast<int>(std::clamp(progress, 0.0, 1.0) * kProgressCells);
  return fmt::format("[{:#<{}}{:.<{}}] ", "", full, "", kProgressCells - full);
}

std::string rate(double bytes_per_second) {
  return format_size(static_cast<std::uint64_t>(std::max(bytes_per_second, 0.0))) + "/s";
}

// One instance, line by line.
class StatusText {
 public:
  explicit StatusText(const Instance& instance) : instance_(instance), s_(instance.status) {
    out_ = s_.filesystem;
    if (!s_.mount.empty()) out_ += "  " + printable(s_.mount);
    out_ += '\n';
  }

  void add_state(bool bars) {
    line("state", instance_.running ? state_in_words(s_)
                                    : "not running; last heard of " + since(s_.written));
    if (!instance_.running) return;
    if (s_.phase == "failing") line("next try", "at " + service::time_of_day(s_.next_try));
    if (!s_.hold.empty()) line(is_held(s_) ? "held" : "slowed", hold_in_words(s_));
    if (s_.work_total == 0) return;
    line("progress",
         fmt::format("{}{:.1f} %, {} of {}", bars ? bar(s_.progress) : "", percent(s_.progress),
                     format_size(s_.work_done), format_size(s_.work_total)));
  }

  void add_rates() {
    if (!instance_.running || s_.phase != "working") return;
    line("speed", fmt::format("{} scanned, {} read", rate(s_.scan_rate), rate(s_.read_rate)));
  }

  void add_totals() {
    line("totals", fmt::format("{:>12}  {:>12}", "since start", "since ever"));
    add_total("scanned", &StatusTotals::scanned);
    add_total("shared", &StatusTotals::shared);
    add_total("freed", &StatusTotals::freed);
    add_total("copied", &StatusTotals::copied);
    add_total("read", &StatusTotals::read);
  }

  void add_freed() {
    line("freed", fmt::format("{} since it started, {} since ever",
                              format_size(s_.since_start.freed), format_size(s_.since_ever.freed)));
  }

  void add_table() {
    line("table",
         fmt::format("{}; {} of {} cells in use, {:.1f} %; level {}", format_size(s_.table_bytes),
                     grouped(s_.table_cells), grouped(s_.table_capacity),
                     100 * share_of(s_.table_cells, s_.table_capacity), s_.table_level));
  }

  void add_generations() {
    line("generation", fmt::format("{}; looked at up to {}, what has to be read up to {}",
                                   s_.generation, s_.done_generation, s_.deep_generation));
  }

  void add_process() {
    line("process",
         fmt::format("{}, skep {}, started {}", s_.pid, printable(s_.version), since(s_.started)));
  }

  void add_error() {
    if (s_.last_error.empty() || (instance_.running && s_.phase == "failing")) return;
    line("last error", fmt::format("{}: {}", since(s_.last_error_time), printable(s_.last_error)));
  }

  std::string take() { return std::move(out_); }

 private:
  void line(std::string_view name, const std::string& value) {
    out_ += fmt::format("  {:<12} {}\n", name, value);
  }

  void add_total(std::string_view name, std::uint64_t StatusTotals::*field) {
    line(name, fmt::format("{:>12}  {:>12}", format_size(s_.since_start.*field),
                           format_size(s_.since_ever.*field)));
  }

  static std::string since(std::int64_t time) {
    return age(static_cast<std::uint64_t>(std::max<std::int64_t>(time, 0)));
  }

  const Instance& instance_;
  const Status& s_;
  std::string out_;
};

std::string full_text(const Instance& instance, bool bars) {
  StatusText text(instance);
  text.add_state(bars);
  text.add_rates();
  text.add_totals();
  text.add_table();
  text.add_generations();
  text.add_process();
  text.add_error();
  return text.take();
}

std::string short_text(const Instance& instance, bool bars) {
  StatusText text(instance);
  text.add_state(bars);
  text.add_freed();
  text.add_error();
  return text.take();
}

}  // namespace

std::string part_in_words(std::string_view part) { return in_words(kParts, part); }

std::string state_in_words(const Status& status) {
  std::string out = in_words(kPhases, status.phase);
  if (status.phase == "failing") out += ": " + printable(status.last_error);
  if (!status.pass.empty()) out += ": " + part_in_words(status.pass);
  if (status.seconds_left) out += fmt::format("; {} left", format_duration(*status.seconds_left));
  return out;
}

std::string hold_in_words(const Status& status) {
  if (status.hold.empty()) return "";
  return status.hold_text.empty() || status.hold == "paused" ? in_words(kHolds, status.hold)
                                                             : printable(status.hold_text);
}

ordered_json instance_json(const Instance& instance) {
  auto out = ordered_json::parse(service::status_json(instance.status));
  out["running"] = instance.running;
  return out;
}

std::string instances_text(const service::Instances& instances, bool bars) {
  if (instances.found.size() == 1) return full_text(instances.found.front(), bars);
  std::string out;
  for (const auto& instance : instances.found) out += short_text(instance, bars);
  return out;
}

std::string instances_json(const service::Instances& instances, bool one_line) {
  ordered_json out = ordered_json::array();
  for (const auto& instance : instances.found) out.push_back(instance_json(instance));
  if (instances.one) out = ordered_json(out.at(0));
  return one_line ? service::json_line(out) + "\n" : service::json_document(out);
}

}  // namespace skep::cli
