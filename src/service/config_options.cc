// SPDX-License-Identifier: MIT
//
// Every option of the configuration files stands here, and nowhere else in the program.
// conf/skep.conf and man/skep.conf.5 are tested against this table.
#include "config_options.h"

#include <chrono>
#include <limits>
#include <utility>

#include "config_values.h"
#include "skep/dedupe/types.h"
#include "skep/index/fingerprint.h"
#include "skep/index/table.h"

namespace skep::service {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

enum class Applies { kAtStart, kOnReload };

constexpr std::uint64_t kAnySize = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kLongestExtent = 128ULL << 20;  // of btrfs: no run is longer

// `field` gives the member of whichever Settings it is handed, const or not.
template <typename T, typename Field>
OptionRow row(std::string name, ValueKind<T> kind, Applies applies, Field field,
              std::string summary) {
  OptionRow out;
  out.option = {std::move(name), std::move(kind.type), std::move(summary),
                applies == Applies::kOnReload};
  out.set = [field, read = std::move(kind.read)](const toml::node& node, Settings& settings) {
    auto value = read(node);
    if (!value.ok()) return value.status();
    field(settings) = *std::move(value);
    return absl::OkStatus();
  };
  out.equal = [field](const Settings& a, const Settings& b) { return field(a) == field(b); };
  out.copy = [field](const Settings& from, Settings& to) { field(to) = field(from); };
  return out;
}

void add_what_a_run_is(std::vector<OptionRow>& rows) {
  const auto start = Applies::kAtStart;
  rows.push_back(row(
      "table.size", size_or_auto(index::Table::kMinBytes, index::Table::kMaxBytes), start,
      [](auto& s) -> auto& { return s.table_size_bytes; },
      "Size of the fingerprint table, file and memory"));
  rows.push_back(row(
      "state.dir", directory(), start, [](auto& s) -> auto& { return s.state_dir; },
      "Where table and checkpoint are kept"));
  rows.push_back(row(
      "match.depth",
      one_of<dedupe::Depth>({{"quick", dedupe::Depth::kQuick}, {"deep", dedupe::Depth::kDeep}}),
      start, [](auto& s) -> auto& { return s.engine.depth; },
      "Compressed extents by checksums alone, or read too"));
  rows.push_back(row(
      "match.fingerprint",
      one_of<index::FingerprintKind>(
          {{"csum", index::FingerprintKind::kCsum}, {"data", index::FingerprintKind::kData}}),
      start, [](auto& s) -> auto& { return s.fingerprint; },
      "From the checksums, or from all data, read"));
  rows.push_back(row(
      "match.nodatasum", flag(), start, [](auto& s) -> auto& { return s.engine.nodatasum; },
      "Extents without checksums (NOCOW) too: read, shared among themselves"));
  rows.push_back(row(
      "match.min_run", size_between(0, kLongestExtent), start,
      [](auto& s) -> auto& { return s.engine.min_run_bytes; },
      "Shortest stretch worth a fragment"));
  rows.push_back(row(
      "match.max_copy_ratio", number_between(0, 100), start,
      [](auto& s) -> auto& { return s.engine.max_copy_ratio; },
      "Most bytes copied for each byte freed"));
  rows.push_back(row(
      "match.threads", count_between(1, 64), start,
      [](auto& s) -> auto& { return s.engine.threads; }, "Batches shared at a time"));
}

void add_filter_of_subvolumes(std::vector<OptionRow>& rows) {
  const auto start = Applies::kAtStart;
  const auto subvolumes = patterns(dedupe::Glob::Of::kSubvolume);
  rows.push_back(row(
      "filter.include_subvolumes", subvolumes, start,
      [](auto& s) -> auto& { return s.engine.filter.include_subvolumes; },
      "Only these subvolumes, with those nested in them"));
  rows.push_back(row(
      "filter.exclude_subvolumes", subvolumes, start,
      [](auto& s) -> auto& { return s.engine.filter.exclude_subvolumes; },
      "Not these subvolumes, with those nested in them"));
  rows.push_back(row(
      "filter.read_only_subvolumes", flag(), start,
      [](auto& s) -> auto& { return s.engine.filter.read_only_subvolumes; },
      "Read-only subvolumes too, which are snapshots mostly"));
}

void add_filter_of_files(std::vector<OptionRow>& rows) {
  const auto start = Applies::kAtStart;
  const auto paths = patterns(dedupe::Glob::Of::kPath);
  const auto size = size_between(0, kAnySize);
  rows.push_back(row(
      "filter.include_paths", paths, start,
      [](auto& s) -> auto& { return s.engine.filter.include_paths; },
      "Only files and folders that match"));
  rows.push_back(row(
      "filter.exclude_paths", paths, start,
      [](auto& s) -> auto& { return s.engine.filter.exclude_paths; },
      "Not files and folders that match"));
  rows.push_back(row(
      "filter.min_file_size", size, start,
      [](auto& s) -> auto& { return s.engine.filter.file_bytes.least; },
      "Not files that are smaller"));
  rows.push_back(row(
      "filter.max_file_size", size, start,
      [](auto& s) -> auto& { return s.engine.filter.file_bytes.most; },
      "Not files that are larger"));
  rows.push_back(row(
      "filter.min_extent_size", size, start,
      [](auto& s) -> auto& { return s.engine.filter.extent_bytes.least; },
      "Not extents that are smaller on disk"));
  rows.push_back(row(
      "filter.max_extent_size", size, start,
      [](auto& s) -> auto& { return s.engine.filter.extent_bytes.most; },
      "Not extents that are larger on disk"));
}

void add_pressure(std::vector<OptionRow>& rows) {
  const auto reload = Applies::kOnReload;
  rows.push_back(row(
      "throttle.io_pressure", percent(), reload,
      [](auto& s) -> auto& { return s.throttle.io_pressure_percent; },
      "Rest longer while tasks wait for io more than this part of the time"));
  rows.push_back(row(
      "throttle.cpu_pressure", percent(), reload,
      [](auto& s) -> auto& { return s.throttle.cpu_pressure_percent; },
      "Rest longer while tasks wait for a cpu more than this part of the time"));
  rows.push_back(row(
      "throttle.memory_pressure", percent(), reload,
      [](auto& s) -> auto& { return s.throttle.memory_pressure_percent; },
      "Rest longer while tasks wait for memory more than this part of the time"));
}

void add_limits(std::vector<OptionRow>& rows) {
  const auto reload = Applies::kOnReload;
  const auto size = size_between(0, kAnySize);
  rows.push_back(row(
      "throttle.read_rate", size, reload,
      [](auto& s) -> auto& { return s.throttle.read_bytes_per_second; },
      "Most data read in a second"));
  rows.push_back(row(
      "throttle.write_rate", size, reload,
      [](auto& s) -> auto& { return s.throttle.write_bytes_per_second; },
      "Most data written in a second"));
  rows.push_back(row(
      "throttle.read_per_day", size, reload,
      [](auto& s) -> auto& { return s.throttle.read_bytes_per_day; }, "Most data read in a day"));
  rows.push_back(row(
      "throttle.write_per_day", size, reload,
      [](auto& s) -> auto& { return s.throttle.write_bytes_per_day; },
      "Most data written in a day"));
  rows.push_back(row(
      "throttle.load_average", number_between(0, 1e6), reload,
      [](auto& s) -> auto& { return s.throttle.load_average; },
      "Wait while the load average of one minute is above this"));
  rows.push_back(row(
      "throttle.hours", hours_of_day(), reload, [](auto& s) -> auto& { return s.throttle.hours; },
      "Work in these hours only, local time"));
  rows.push_back(row(
      "throttle.ac_power_only", flag(), reload,
      [](auto& s) -> auto& { return s.throttle.ac_power_only; },
      "Wait while the machine runs on battery"));
}

void add_service(std::vector<OptionRow>& rows) {
  const auto reload = Applies::kOnReload, start = Applies::kAtStart;
  rows.push_back(row(
      "space.metadata_reserve", size_between(0, kAnySize), reload,
      [](auto& s) -> auto& { return s.metadata_reserve_bytes; },
      "Wait while less than this is free for metadata"));
  rows.push_back(row(
      "checkpoint.interval", duration_between(seconds(1), hours(24)), reload,
      [](auto& s) -> auto& { return s.checkpoint_interval; },
      "Time between checkpoints: what a crash makes skep look at again"));
  rows.push_back(row(
      "metrics.dir", directory(), reload, [](auto& s) -> auto& { return s.metrics_dir; },
      "Textfile directory of the node exporter, for metrics"));
  rows.push_back(row(
      "service.run_dir", directory(), start, [](auto& s) -> auto& { return s.run_dir; },
      "Where the running instance tells its status"));
  rows.push_back(row(
      "service.lock_memory", flag(), start, [](auto& s) -> auto& { return s.lock_memory; },
      "Keep all of skep's memory out of swap"));
  rows.push_back(row(
      "service.one_at_a_time", flag(), start, [](auto& s) -> auto& { return s.one_at_a_time; },
      "Wait while another instance works"));
}

}  // namespace

const std::vector<OptionRow>& option_table() {
  static const auto* const table = [] {
    auto* rows = new std::vector<OptionRow>;
    add_what_a_run_is(*rows);
    add_filter_of_subvolumes(*rows);
    add_filter_of_files(*rows);
    add_pressure(*rows);
    add_limits(*rows);
    add_service(*rows);
    return rows;
  }();
  return *table;
}

}  // namespace skep::service
