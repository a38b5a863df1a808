// SPDX-License-Identifier: MIT
#include "skep/service/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "catch.h"
#include "skep/btrfs/status.h"
#include "temporary_folder.h"

namespace skep::service {
namespace {

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;

using skep::testing::TemporaryFolder;
using skep::testing::write_file;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

// A configuration file with this text.
class ConfigFile {
 public:
  explicit ConfigFile(const std::string& text) { write_file(path_, text); }
  const std::string& path() const { return path_; }

 private:
  TemporaryFolder folder_;
  std::string path_ = folder_.file("skep.conf");
};

Settings loaded(const std::string& text) {
  INFO(text);
  Settings settings;
  const auto status = load_config(ConfigFile(text).path(), settings);
  INFO(status);
  REQUIRE(status.ok());
  return settings;
}

// What is said about the text, without the folder in front.
std::string refusal(const std::string& text) {
  INFO(text);
  const ConfigFile file(text);
  Settings settings;
  const auto status = load_config(file.path(), settings);
  REQUIRE(absl::IsInvalidArgument(status));
  CHECK(changed_options(Settings(), settings).empty());
  const std::string message(message_of(status));
  CHECK(message.find('\n') == std::string::npos);
  REQUIRE(message.rfind(file.path() + ":", 0) == 0);
  return message.substr(file.path().size() - std::string("skep.conf").size());
}

// The same about a value in a section's first line.
std::string refusal_of(const std::string& section, const std::string& line) {
  const std::string message = refusal(fmt::format("[{}]\n{}\n", section, line));
  const std::string place = "skep.conf:2: ";
  REQUIRE(message.rfind(place, 0) == 0);
  return message.substr(place.size());
}

std::vector<std::string> names_of(const std::vector<ConfigOption>& options) {
  std::vector<std::string> names;
  for (const auto& option : options) names.push_back(option.name);
  return names;
}

constexpr char kEverything[] = R"(
[table]
size = "1M"
[state]
dir = "/srv/state"
[match]
depth = "quick"
fingerprint = "csum"
nodatasum = false
min_run = "64K"
max_copy_ratio = 0.5
threads = 7
[filter]
include_subvolumes = ["@home", "/"]
exclude_subvolumes = "**/snapshot"
read_only_subvolumes = false
include_paths = ["/home"]
exclude_paths = ["*.vdi", "/home/*/.cache"]
min_file_size = "64K"
max_file_size = "1G"
min_extent_size = 8192
max_extent_size = "64M"
[throttle]
io_pressure = 10
cpu_pressure = 20.5
memory_pressure = 5
read_rate = "20M"
write_rate = 1048576
read_per_day = "100G"
write_per_day = "5G"
load_average = 4.25
hours = ["22:00-06:00", "12:00-13:30"]
ac_power_only = true
[space]
metadata_reserve = "1G"
[checkpoint]
interval = "10min"
[metrics]
dir = "/srv/metrics"
[service]
run_dir = "/run/elsewhere"
lock_memory = true
one_at_a_time = true
)";

TEST_CASE("every option for a run is read", "[config]") {
  const Settings s = loaded(kEverything);
  CHECK(s.table_size_bytes == 1 << 20);
  CHECK(s.state_dir == "/srv/state");
  CHECK(s.engine.depth == dedupe::Depth::kQuick);
  CHECK(s.engine.min_run_bytes == 64 << 10);
  CHECK(s.engine.max_copy_ratio == 0.5);
  CHECK(s.engine.threads == 7);
  CHECK(s.metadata_reserve_bytes == 1 << 30);
  CHECK(s.checkpoint_interval == minutes(10));
  CHECK(s.metrics_dir == "/srv/metrics");
  CHECK(s.run_dir == "/run/elsewhere");
  CHECK(s.lock_memory);
  CHECK(s.one_at_a_time);
}

std::vector<std::string> texts_of(const std::vector<dedupe::Glob>& globs) {
  std::vector<std::string> out;
  for (const auto& glob : globs) out.push_back(glob.text());
  return out;
}

TEST_CASE("every option of the filter is read", "[config]") {
  using Texts = std::vector<std::string>;
  const dedupe::FilterOptions f = loaded(kEverything).engine.filter;
  CHECK(texts_of(f.include_subvolumes) == Texts{"@home", "/"});
  CHECK(texts_of(f.exclude_subvolumes) == Texts{"**/snapshot"});
  CHECK_FALSE(f.read_only_subvolumes);
  CHECK(texts_of(f.include_paths) == Texts{"/home"});
  CHECK(texts_of(f.exclude_paths) == Texts{"*.vdi", "/home/*/.cache"});
  CHECK(f.file_bytes == dedupe::SizeLimits{64 << 10, 1 << 30});
  CHECK(f.extent_bytes == dedupe::SizeLimits{8192, 64 << 20});
  CHECK(loaded("[filter]\nexclude_paths = []\ninclude_paths = ''\n").engine.filter ==
        dedupe::FilterOptions());
}

TEST_CASE("patterns that are none are refused", "[config]") {
  CHECK(refusal_of("filter", "exclude_paths = ['*.c', 'a[b']") ==
        "filter.exclude_paths: 'a[b' has a bracket without an end");
  CHECK(refusal_of("filter", "exclude_paths = ['']") ==
        "filter.exclude_paths: the pattern is empty");
  CHECK(refusal_of("filter", "include_paths = '/'") == "filter.include_paths: '/' names nothing");
  CHECK(refusal_of("filter", "include_subvolumes = 5") ==
        "filter.include_subvolumes: 5 is no pattern; write \"*.iso\" or [\"*.iso\", "
        "\"/home/*/.cache\"]");
  CHECK(refusal_of("filter", "exclude_paths = [['a']]") ==
        "filter.exclude_paths: an array is no pattern; write \"*.iso\" or [\"*.iso\", "
        "\"/home/*/.cache\"]");
}

TEST_CASE("sizes of a filter that leave nothing are refused, with the later line", "[config]") {
  CHECK(refusal("[filter]\nmax_file_size = '1K'\n\nmin_file_size = '1M'\n") ==
        "skep.conf:4: filter.min_file_size is above filter.max_file_size: that leaves nothing");
  CHECK(refusal("[filter]\nmin_extent_size = '2M'\nmax_extent_size = '1M'\n") ==
        "skep.conf:3: filter.min_extent_size is above filter.max_extent_size: that leaves nothing");
  CHECK(loaded("[filter]\nmin_file_size = '1M'\nmax_file_size = 0\n").engine.filter.file_bytes ==
        dedupe::SizeLimits{1 << 20, 0});
}

TEST_CASE("every option of the throttle is read", "[config]") {
  const ThrottleSettings t = loaded(kEverything).throttle;
  CHECK(t.io_pressure_percent == 10);
  CHECK(t.cpu_pressure_percent == 20.5);
  CHECK(t.memory_pressure_percent == 5);
  CHECK(t.read_bytes_per_second == 20 << 20);
  CHECK(t.write_bytes_per_second == 1 << 20);
  CHECK(t.read_bytes_per_day == 100ULL << 30);
  CHECK(t.write_bytes_per_day == 5ULL << 30);
  CHECK(t.load_average == 4.25);
  CHECK(t.hours == std::vector<Hours>{{hours(22), hours(6)}, {hours(12), minutes(13 * 60 + 30)}});
  CHECK(t.ac_power_only);
}

TEST_CASE("options that contradict quick are read beside deep", "[config]") {
  const Settings s = loaded("[match]\ndepth = 'deep'\nfingerprint = 'data'\nnodatasum = true\n");
  CHECK(s.engine.depth == dedupe::Depth::kDeep);
  CHECK(s.fingerprint == index::FingerprintKind::kData);
  CHECK(s.engine.nodatasum);
}

TEST_CASE("what a file does not name stays as it is", "[config]") {
  const ConfigFile file("[throttle]\nio_pressure = 3\n");
  Settings settings;
  settings.engine.threads = 9;
  REQUIRE(load_config(file.path(), settings).ok());
  CHECK(settings.engine.threads == 9);
  CHECK(settings.throttle.io_pressure_percent == 3);
  CHECK(changed_options(Settings(), loaded("")).empty());
  CHECK(changed_options(Settings(), loaded("# nothing\n[throttle]\n")).empty());
}

TEST_CASE("dotted keys are the same as sections", "[config]") {
  CHECK(loaded("throttle.io_pressure = 3\n").throttle.io_pressure_percent == 3);
  CHECK(refusal("\nthrottle.io_presure = 3\n") ==
        "skep.conf:2: unknown key 'throttle.io_presure'; did you mean 'throttle.io_pressure'?");
}

TEST_CASE("a size of auto is the default again", "[config]") {
  Settings settings;
  settings.table_size_bytes = 1 << 20;
  REQUIRE(load_config(ConfigFile("[table]\nsize = 'auto'\n").path(), settings).ok());
  CHECK(settings.table_size_bytes == 0);
}

TEST_CASE("hours are read in each of their forms", "[config]") {
  auto read = [](const std::string& value) {
    return loaded("[throttle]\nhours = " + value + "\n").throttle.hours;
  };
  CHECK(read("\"\"").empty());
  CHECK(read("[]").empty());
  CHECK(read("'6:05-22:00'") == std::vector<Hours>{{minutes(365), hours(22)}});
  CHECK(read("['22:00-06:00']") == std::vector<Hours>{{hours(22), hours(6)}});
  // Midnight has one form.
  CHECK(read("'18:00-24:00'") == std::vector<Hours>{{hours(18), hours(0)}});
  CHECK(read("'00:00-24:00'") == std::vector<Hours>{{hours(0), hours(0)}});
  for (const char* wrong : {"22:00", "22-06", "24:01-06:00", "22:60-06:00", "22:00-06:0", "22:00-",
                            "022:00-06:00", "22:00-06:00 ", "-1:00-06:00", "a:00-06:00"}) {
    CHECK(refusal_of("throttle", fmt::format("hours = '{}'", wrong)) ==
          fmt::format("throttle.hours: '{}' is no time of day; write \"22:00-06:00\"", wrong));
  }
  CHECK(refusal_of("throttle", "hours = ['22:00-06:00', 7]") ==
        "throttle.hours: 7 is no time of day; write \"22:00-06:00\"");
}

TEST_CASE("the interval is a duration or seconds", "[config]") {
  auto read = [](const std::string& value) {
    return loaded("[checkpoint]\ninterval = " + value + "\n").checkpoint_interval;
  };
  CHECK(read("90") == seconds(90));
  CHECK(read("'1min 30s'") == seconds(90));
  CHECK(read("'1d'") == hours(24));
  CHECK(refusal_of("checkpoint", "interval = 'soon'") ==
        "checkpoint.interval: 'soon' is no duration; write \"90s\", \"2min\" or \"1h\"");
  CHECK(refusal_of("checkpoint", "interval = 0") ==
        "checkpoint.interval: 0 is not between 1 and 86400 seconds");
  CHECK(refusal_of("checkpoint", "interval = -9223372036854775808") ==
        "checkpoint.interval: -9223372036854775808 is not between 1 and 86400 seconds");
  CHECK(refusal_of("checkpoint", "interval = '25h'") ==
        "checkpoint.interval: '25h' is not between 1 and 86400 seconds");
}

TEST_CASE("a key that is nearly one is suggested", "[config]") {
  CHECK(refusal_of("throttle", "io_presure = 10") ==
        "unknown key 'throttle.io_presure'; did you mean 'throttle.io_pressure'?");
  CHECK(refusal_of("throttle", "Hours = ''") ==
        "unknown key 'throttle.Hours'; did you mean 'throttle.hours'?");
  CHECK(refusal_of("match", "min-run = '4K'") ==
        "unknown key 'match.min-run'; did you mean 'match.min_run'?");
  // In another section, or in none.
  CHECK(refusal_of("service", "threads = 2") ==
        "unknown key 'service.threads'; did you mean 'match.threads'?");
  CHECK(refusal("io_pressure = 10\n") ==
        "skep.conf:1: unknown key 'io_pressure'; did you mean 'throttle.io_pressure'?");
  // Of two that are called alike, the one of the section.
  CHECK(refusal_of("metrics", "dirs = '/srv'") ==
        "unknown key 'metrics.dirs'; did you mean 'metrics.dir'?");
}

TEST_CASE("a key that is nothing like any is referred to the page", "[config]") {
  CHECK(refusal_of("throttle", "colour = 'blue'") ==
        "unknown key 'throttle.colour'; see skep.conf(5)");
  const std::string longest(5000, 'x');
  CHECK(refusal_of("throttle", longest + " = 1") ==
        fmt::format("unknown key 'throttle.{}'; see skep.conf(5)", longest));
  CHECK(refusal_of("throttle", "\"io\\nload\" = 1") ==
        "unknown key 'throttle.io?load'; see skep.conf(5)");
}

TEST_CASE("sections that are unknown or none are refused", "[config]") {
  CHECK(refusal("\n[trottle]\nio_pressure = 10\n") ==
        "skep.conf:2: unknown section 'trottle'; did you mean 'throttle'?");
  CHECK(refusal("[colours]\n") == "skep.conf:1: unknown section 'colours'; see skep.conf(5)");
  CHECK(refusal("table = '64M'\n") == "skep.conf:1: 'table' is a section; write [table]");
  CHECK(refusal("\n[[throttle]]\n") == "skep.conf:2: 'throttle' is a section; write [throttle]");
  CHECK(refusal("[throttle]\n[throttle.io]\npressure = 1\n") ==
        "skep.conf:2: unknown key 'throttle.io'; see skep.conf(5)");
}

TEST_CASE("sizes that are none or out of range are refused", "[config]") {
  CHECK(refusal_of("table", "size = '12Q'") == "table.size: '12Q' is no size; write 64K, 1G");
  CHECK(refusal_of("table", "size = true") == "table.size: true is no size; write 64K, 1G");
  CHECK(refusal_of("table", "size = '4K'") ==
        "table.size: '4K' is not between 8.0 KiB and 1.0 TiB");
  CHECK(refusal_of("table", "size = 0") == "table.size: 0 is not between 8.0 KiB and 1.0 TiB");
  CHECK(refusal_of("table", "size = '2T'") ==
        "table.size: '2T' is not between 8.0 KiB and 1.0 TiB");
  CHECK(refusal_of("match", "min_run = '129M'") ==
        "match.min_run: '129M' is not between 0 B and 128 MiB");
  CHECK(refusal_of("throttle", "read_rate = '20M/s'") ==
        "throttle.read_rate: '20M/s' is no size; write 64K, 1G");
  CHECK(refusal_of("throttle", "read_rate = -1") ==
        "throttle.read_rate: -1 is no size; write 64K, 1G");
  CHECK(refusal_of("throttle", "read_rate = [1]") ==
        "throttle.read_rate: an array is no size; write 64K, 1G");
}

TEST_CASE("numbers that are none or out of range are refused", "[config]") {
  CHECK(refusal_of("throttle", "io_pressure = '10%'") ==
        "throttle.io_pressure: '10%' is no number; write one such as 1.5, without quotes");
  CHECK(refusal_of("throttle", "io_pressure = 100.5") ==
        "throttle.io_pressure: 100.5 is not between 0 and 100");
  CHECK(refusal_of("throttle", "load_average = nan") ==
        "throttle.load_average: nan is not between 0 and 1000000");
  CHECK(refusal_of("match", "max_copy_ratio = -0.1") ==
        "match.max_copy_ratio: -0.1 is not between 0 and 100");
  CHECK(refusal_of("match", "threads = 65") == "match.threads: 65 is not between 1 and 64");
  CHECK(refusal_of("match", "threads = 0") == "match.threads: 0 is not between 1 and 64");
  CHECK(refusal_of("match", "threads = 2.5") == "match.threads: 2.5 is no integer; write 1 to 64");
}

TEST_CASE("values of another type are refused with what to write", "[config]") {
  CHECK(refusal_of("match", "depth = 'deeper'") ==
        "match.depth: 'deeper' is none of its values; write \"quick\" or \"deep\"");
  CHECK(refusal_of("match", "fingerprint = 3") ==
        "match.fingerprint: 3 is none of its values; write \"csum\" or \"data\"");
  CHECK(refusal_of("service", "lock_memory = 'yes'") ==
        "service.lock_memory: 'yes' is no boolean; write true or false, without quotes");
  CHECK(refusal_of("service", "lock_memory = 2020-01-01") ==
        "service.lock_memory: a date or time is no boolean; write true or false, without quotes");
  CHECK(refusal_of("state", "dir = 'skep'") ==
        "state.dir: 'skep' is no absolute path; write one that begins with /, in quotes");
  CHECK(refusal_of("metrics", "dir = {}") ==
        "metrics.dir: a section is no absolute path; write one that begins with /, in quotes");
}

TEST_CASE("of several errors the first line's is said", "[config]") {
  CHECK(
      refusal("[throttle]\nwrite_rate = 'x'\nio_pressure = 'y'\nahours = 1\n[match]\nthreads = 0\n")
          .rfind("skep.conf:2: throttle.write_rate:", 0) == 0);
  CHECK(refusal("[throttle]\nhours = 1\n[a]\n").rfind("skep.conf:2: throttle.hours:", 0) == 0);
}

TEST_CASE("syntax errors are said in one line, with the quotes that lack", "[config]") {
  CHECK_THAT(refusal("[table]\nsize = 64M\n"),
             StartsWith("skep.conf:2: ") && EndsWith("; write it in quotes: \"64M\""));
  CHECK_THAT(refusal("[match]\n\ndepth = quick  # fast\n"),
             StartsWith("skep.conf:3: ") && EndsWith("; write it in quotes: \"quick\""));
  CHECK_THAT(refusal("[state]\ndir = /srv/skep\n"),
             StartsWith("skep.conf:2: ") && EndsWith("; write it in quotes: \"/srv/skep\""));
  CHECK_THAT(refusal("[throttle]\nhours = 22:00-06:00\n"),
             StartsWith("skep.conf:2: ") && EndsWith("; write it in quotes: \"22:00-06:00\""));
  CHECK_THAT(refusal("[limits]\ncolour = blue\n"),
             StartsWith("skep.conf:2: ") && EndsWith("; write it in quotes: \"blue\""));
  CHECK_THAT(refusal("[table\n"), StartsWith("skep.conf:1: "));
  CHECK_THAT(refusal("[throttle]\nhours = [\n'22:00-06:00'\n"), StartsWith("skep.conf:"));
  CHECK_THAT(refusal("[match]\nthreads = 1\nthreads = 2\n"), StartsWith("skep.conf:3: "));
  CHECK_THAT(refusal("[match]\n\n\xff\xfe\n"), StartsWith("skep.conf:"));
}

TEST_CASE("syntax errors that quotes do not mend are said with what does", "[config]") {
  CHECK_THAT(refusal("[throttle]\nac_power_only = yes\n"),
             EndsWith("; 'yes' is no boolean; write true or false, without quotes"));
  CHECK_THAT(refusal("throttle.io_pressure = 10%\n"),
             EndsWith("; '10%' is no number; write one such as 1.5, without quotes"));
  CHECK_THAT(refusal("[table]\nsize = 12Q\n"), EndsWith("; '12Q' is no size; write 64K, 1G"));
  CHECK_THAT(refusal("[match]\nthreads = 1\nthreads = 2\n"),
             StartsWith("skep.conf:3: ") && !ContainsSubstring("; "));
}

TEST_CASE("quick contradicts what has to be read", "[config]") {
  CHECK(refusal("[match]\ndepth = 'quick'\n\nnodatasum = true\nfingerprint = 'csum'\n") ==
        "skep.conf:4: match.depth: 'quick' reads nothing: not with match.nodatasum; write depth = "
        "\"deep\", or take that out");
  CHECK(refusal("[match]\nfingerprint = 'data'\ndepth = 'quick'\n") ==
        "skep.conf:3: match.depth: 'quick' reads nothing: not with match.fingerprint = \"data\"; "
        "write depth = \"deep\", or take that out");
}

TEST_CASE("a file that is missing can be told from one that is wrong", "[config]") {
  const TemporaryFolder folder;
  Settings settings;
  CHECK(absl::IsNotFound(load_config(folder.file("skep.conf"), settings)));
  const auto status = load_config(folder.path(), settings);
  CHECK(errno_of(status) == EISDIR);
  write_file(folder.file("large"), std::string(2 << 20, '\n'));
  CHECK(errno_of(load_config(folder.file("large"), settings)) == EFBIG);
}

btrfs::Uuid some_uuid() {
  btrfs::Uuid uuid;
  uuid.fill(0xAB);
  return uuid;
}

TEST_CASE("the filesystem's file goes over the general one", "[config]") {
  const TemporaryFolder folder;
  const auto uuid = some_uuid();
  write_file(folder.file("skep.conf"), "[match]\nthreads = 3\n[throttle]\nio_pressure = 10\n");
  write_file(folder.file(btrfs::to_string(uuid) + ".conf"), "[throttle]\nio_pressure = 50\n");
  const auto of_all = load_settings(folder.path(), nullptr);
  const auto of_one = load_settings(folder.path(), &uuid);
  REQUIRE(of_all.ok());
  REQUIRE(of_one.ok());
  CHECK(of_all->throttle.io_pressure_percent == 10);
  CHECK(of_one->throttle.io_pressure_percent == 50);
  CHECK(of_one->engine.threads == 3);
}

TEST_CASE("without files there are the defaults", "[config]") {
  const TemporaryFolder folder;
  const auto uuid = some_uuid();
  for (const auto& dir : {folder.path(), folder.file("nothing")}) {
    const auto settings = load_settings(dir, &uuid);
    REQUIRE(settings.ok());
    CHECK(changed_options(Settings(), *settings).empty());
  }
}

TEST_CASE("an error in either file is said, with its name", "[config]") {
  const TemporaryFolder folder;
  const auto uuid = some_uuid();
  const std::string own = folder.file(btrfs::to_string(uuid) + ".conf");
  write_file(folder.file("skep.conf"), "[match]\ndepth = 'quick'\n");
  write_file(own, "\n[match]\nnodatasum = true\n");
  CHECK_THAT(std::string(message_of(load_settings(folder.path(), &uuid).status())),
             StartsWith(own + ":3: match.depth: 'quick' reads nothing"));
  write_file(own, "[match]\ndepth = 'deep'\nnodatasum = true\n");
  CHECK(load_settings(folder.path(), &uuid).ok());
  write_file(folder.file("skep.conf"), "[match]\nthread = 2\n");
  CHECK_THAT(std::string(message_of(load_settings(folder.path(), &uuid).status())),
             StartsWith(folder.file("skep.conf") + ":2: unknown key 'match.thread'"));
}

TEST_CASE("changes are named, and those that SIGHUP can make are made", "[config]") {
  const Settings before, after = loaded(kEverything);
  const auto changed = changed_options(before, after);
  CHECK(changed.size() == config_options().size() - 2);  // these two contradict quick
  Settings running = before;
  take_reloadable(after, running);
  for (const auto& option : changed_options(running, after)) CHECK_FALSE(option.reloadable);
  for (const auto& option : changed_options(before, running)) CHECK(option.reloadable);
  CHECK(running.throttle.hours == after.throttle.hours);
  CHECK(running.state_dir == before.state_dir);
}

// Documents: the sample and the page against the table.

std::string document(const std::string& name) {
  return skep::testing::contents_of(std::string(SKEP_SOURCE_DIR "/") + name);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

bool is_commented_option(const std::string& line) {
  return line.size() > 1 && line[0] == '#' && line[1] >= 'a' && line[1] <= 'z';
}

// The sample with all options in force.
std::string sample_without_comments() {
  std::string text;
  for (const auto& line : lines_of(document("conf/skep.conf"))) {
    text += (is_commented_option(line) ? line.substr(1) : line) + "\n";
  }
  return text;
}

TEST_CASE("the sample holds back gently and changes nothing else", "[config]") {
  const Settings sample = loaded(document("conf/skep.conf"));
  CHECK(names_of(changed_options(Settings(), sample)) ==
        std::vector<std::string>{"throttle.io_pressure", "throttle.cpu_pressure",
                                 "throttle.memory_pressure"});
  CHECK(sample.throttle.io_pressure_percent == 10);
  CHECK(sample.throttle.cpu_pressure_percent == 20);
  CHECK(sample.throttle.memory_pressure_percent == 5);
  CHECK_FALSE(sample.one_at_a_time);
}

TEST_CASE("what the sample shows in comments are the defaults", "[config]") {
  const Settings sample = loaded(document("conf/skep.conf"));
  CHECK(names_of(changed_options(sample, loaded(sample_without_comments()))).empty());
}

TEST_CASE("the sample lists every option in order, with its summary", "[config]") {
  std::vector<std::string> listed;
  std::string section, paragraph;
  for (const auto& line : lines_of(document("conf/skep.conf"))) {
    const std::size_t equals = line.find(" = ");
    if (line.empty()) paragraph.clear();
    if (line.rfind('[', 0) == 0) section = line.substr(1, line.size() - 2);
    if (line.rfind("# ", 0) == 0) paragraph += line.substr(2) + " ";
    if (equals == std::string::npos || line.rfind("# ", 0) == 0) continue;
    const std::size_t begin = is_commented_option(line) ? 1 : 0;
    listed.push_back(section + "." + line.substr(begin, equals - begin));
    for (const auto& option : config_options()) {
      if (option.name != listed.back()) continue;
      CHECK_THAT(paragraph, StartsWith(option.summary + ". "));
    }
  }
  CHECK(listed == names_of(config_options()));
}

// What skep.conf(5) says of an option.
struct Described {
  std::string name;
  std::string text;  // in one line
};

std::vector<Described> described_options() {
  std::string page = document("man/skep.conf.5.scd");
  page.erase(std::remove(page.begin(), page.end(), '\\'), page.end());
  const std::size_t begin = page.find("\n# OPTIONS\n"), end = page.find("\n# ERRORS\n");
  REQUIRE(begin < end);
  std::vector<Described> all;
  std::string section;
  for (const auto& line : lines_of(page.substr(begin, end - begin))) {
    if (line.rfind("## ", 0) == 0) section = line.substr(3);
    if (line.rfind('*', 0) == 0) {
      all.push_back({section + "." + line.substr(1, line.size() - 2), ""});
    } else if (line.rfind('\t', 0) == 0 && !all.empty()) {
      all.back().text += line.substr(1) + " ";
    }
  }
  return all;
}

// What stands between two texts; empty when they do not.
std::string between(const std::string& text, const std::string& before, const std::string& after) {
  const std::size_t found = text.find(before);
  if (found == std::string::npos) return "";
  const std::size_t begin = found + before.size(), end = text.find(after, begin);
  return end == std::string::npos ? "" : text.substr(begin, end - begin);
}

// A file that gives an option this value.
std::string file_with(const std::string& name, const std::string& value) {
  const std::size_t dot = name.find('.');
  return fmt::format("[{}]\n{} = {}\n", name.substr(0, dot), name.substr(dot + 1), value);
}

TEST_CASE("skep.conf(5) describes every option: type, default, reload, example", "[config]") {
  const auto options = config_options();
  const auto described = described_options();
  REQUIRE(described.size() == options.size());
  for (std::size_t i = 0; i < options.size(); ++i) {
    const auto& [name, text] = described[i];
    INFO(name << ": " << text);
    CHECK(name == options[i].name);
    CHECK(text.substr(1).rfind(options[i].type.substr(1), 0) == 0);  // begins with a capital
    CHECK(between(text, "_; ", ".") == (options[i].reloadable ? "reloaded" : "read at start"));
    const std::string value = between(text, "; default _", "_;");
    CHECK(changed_options(Settings(), loaded(file_with(name, value))).empty());
    const std::string key = name.substr(name.find('.') + 1);
    const std::string example = between(text, "Example: *" + key + " = ", "* ");
    CHECK(names_of(changed_options(Settings(), loaded(file_with(name, example)))) ==
          std::vector<std::string>{name});
  }
}

TEST_CASE("the examples of skep.conf(5) are configurations", "[config]") {
  const std::string page = document("man/skep.conf.5.scd");
  int examples = 0;
  for (std::size_t at = page.find("```\n["); at != std::string::npos;
       at = page.find("```\n[", at + 1)) {
    loaded(between(page.substr(at), "```\n", "```"));
    ++examples;
  }
  CHECK(examples == 3);
}

}  // namespace
}  // namespace skep::service
