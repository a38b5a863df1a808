// SPDX-License-Identifier: MIT
#include "skep/service/metrics.h"

#include <cstdlib>
#include <filesystem>
#include <set>
#include <sstream>
#include <string>

#include "catch.h"
#include "temporary_folder.h"

namespace skep::service {
namespace {

using skep::testing::contents_of;
using skep::testing::TemporaryFolder;

Status metrics_status() {
  Status s;
  s.filesystem = "0e7d8c9a-2b41-4e0a-9f7e-3d1c5b6a7f80";
  s.version = "1.2.3";
  s.phase = "working";
  s.progress = 0.25;
  s.since_start = {1, 1, 1, 1, 1, 1};
  s.since_ever = {21, 22, 23, 24, 25, 1ULL << 63};
  s.table_cells = 35;
  s.table_capacity = 36;
  s.table_level = 7;
  s.last_error_time = 1700000003;
  return s;
}

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

const std::string kOf = "{filesystem=\"0e7d8c9a-2b41-4e0a-9f7e-3d1c5b6a7f80\"} ";

TEST_CASE("metrics give the totals since ever, and the present state", "[status]") {
  const std::string text = metrics_text(metrics_status());
  INFO(text);
  for (const std::string& line :
       {"skep_scanned_extents_total" + kOf + "21", "skep_scanned_bytes_total" + kOf + "22",
        "skep_shared_bytes_total" + kOf + "23", "skep_freed_bytes_total" + kOf + "24",
        "skep_copied_bytes_total" + kOf + "25",
        "skep_read_bytes_total" + kOf + "9223372036854775808", "skep_progress_ratio" + kOf + "0.25",
        "skep_table_cells" + kOf + "35", "skep_table_capacity_cells" + kOf + "36",
        "skep_table_level" + kOf + "7", "skep_held" + kOf + "0",
        "skep_last_error_timestamp_seconds" + kOf + "1700000003"}) {
    CHECK(has_line(text, line));
  }
}

TEST_CASE("metrics have one phase at a time", "[status]") {
  Status s = metrics_status();
  s.phase = "held";
  const std::string text = metrics_text(s);
  const std::string of = kOf.substr(0, kOf.size() - 2) + ",phase=";
  CHECK(has_line(text, "skep_phase" + of + "\"held\"} 1"));
  CHECK(has_line(text, "skep_phase" + of + "\"working\"} 0"));
  CHECK(has_line(text, "skep_held" + kOf + "1"));
}

TEST_CASE("each metric is explained and typed once, right before its samples", "[status]") {
  std::istringstream lines(metrics_text(metrics_status()));
  std::set<std::string> seen;
  std::string line, helped, typed;
  while (std::getline(lines, line)) {
    INFO(line);
    if (line.rfind("# HELP ", 0) == 0) {
      helped = line.substr(7, line.find(' ', 7) - 7);
      CHECK(seen.insert(helped).second);
    } else if (line.rfind("# TYPE ", 0) == 0) {
      typed = line.substr(7, line.find(' ', 7) - 7);
      CHECK(typed == helped);
      const bool total = typed.size() > 6 && typed.substr(typed.size() - 6) == "_total";
      CHECK(line.substr(line.rfind(' ') + 1) == (total ? "counter" : "gauge"));
    } else {
      CHECK(line.substr(0, line.find('{')) == typed);
    }
  }
  CHECK(seen.size() > 20);
}

TEST_CASE("label values are escaped", "[status]") {
  Status s = metrics_status();
  s.version = "1\"2\\3\n4";
  CHECK(metrics_text(s).find("version=\"1\\\"2\\\\3\\n4\"} 1\n") != std::string::npos);
}

TEST_CASE("metrics replace the file of their filesystem, and leave nothing else", "[status]") {
  const TemporaryFolder folder;
  const Status s = metrics_status();
  REQUIRE(write_metrics(folder.path(), s).ok());
  REQUIRE(write_metrics(folder.path(), s).ok());
  CHECK(contents_of(folder.file("skep-" + s.filesystem + ".prom")) == metrics_text(s));
  const std::filesystem::directory_iterator files(folder.path());
  CHECK(std::distance(begin(files), end(files)) == 1);
  CHECK_FALSE(write_metrics(folder.file("gone"), s).ok());
}

TEST_CASE("promtool has nothing to say about the metrics", "[status]") {
  if (std::system("command -v promtool >/dev/null") != 0) {
    if (std::getenv("CI") != nullptr) FAIL("promtool is missing; Debian has it in prometheus");
    WARN("not checked: promtool is missing");
    return;
  }
  const TemporaryFolder folder;
  const std::string metrics = folder.file("metrics"), said = folder.file("said");
  skep::testing::write_file(metrics, metrics_text(metrics_status()));
  const std::string command = "promtool check metrics <" + metrics + " >" + said + " 2>&1";
  const int status = std::system(command.c_str());
  CHECK(contents_of(said) == "");
  CHECK(status == 0);
}

}  // namespace
}  // namespace skep::service
