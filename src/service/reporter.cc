// SPDX-License-Identifier: MIT
#include "reporter.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "skep/btrfs/status.h"
#include "skep/service/exit_status.h"
#include "skep/service/local_time.h"
#include "skep/service/metrics.h"
#include "skep/service/sizes.h"

namespace skep::service {
namespace {
// node exporter is asked every 15 s or so.
constexpr auto kMetricsEvery = std::chrono::seconds(15);
constexpr double kLeastSeconds = 2;  // a rate from less says nothing
}  // namespace

Reporter::Reporter(const std::string& version, const btrfs::Uuid& filesystem,
                   const Progress& progress)
    : progress_(progress), run_dir_(default_run_dir(filesystem)) {
  status_.filesystem = btrfs::to_string(filesystem);
  status_.version = version;
  status_.pid = getpid();
  status_.started = std::time(nullptr);
  status_.phase = "starting";
}

Refusal Reporter::open(const std::string& run_dir, const std::string& metrics_dir) {
  if (!run_dir.empty()) run_dir_ = run_dir;
  metrics_dir_ = metrics_dir;
  auto lock = lock_run_dir(run_dir_);
  if (!lock.ok()) {
    const bool taken = absl::IsFailedPrecondition(lock.status());
    return {kExitFailed,
            taken ? fmt::format("{}: an instance for this filesystem runs already", run_dir_)
                  : std::string(message_of(lock.status()))};
  }
  lock_ = *std::move(lock);
  write();
  return {};
}

bool Reporter::note_error(const std::string& message) {
  const bool is_new = message != status_.last_error;
  status_.last_error = message;
  status_.last_error_time = std::time(nullptr);
  return is_new;
}

void Reporter::describe_work(const Facts& facts) {
  status_.seconds_left.reset();
  status_.pass.clear();
  Progress::Now now;
  if (facts.working) {
    status_.pass = name_of(facts.view.position.kind);
    now = progress_.now();
  }
  status_.work_done = now.done_bytes;
  status_.work_total = now.total_bytes;
  status_.progress = now.share;
  if (now.seconds > kLeastSeconds) status_.seconds_left = now.seconds_left();
}

void Reporter::describe_totals(const Worker::View& view) {
  const auto& counters = progress_.counters;
  auto& since_start = status_.since_start;
  since_start.extents_scanned = counters.extents_scanned;
  since_start.scanned = counters.bytes_scanned;
  since_start.shared = counters.bytes_duplicate;
  since_start.freed = counters.freed_bytes();
  since_start.copied = counters.bytes_copied;
  since_start.read = counters.bytes_read_asked;
  // Freed is less what was copied, which comes first: metrics that fall look like a restart.
  const std::uint64_t freed = std::max(status_.since_ever.freed, view.totals.bytes_freed);
  status_.since_ever = {view.totals.extents_scanned, view.totals.bytes_scanned,
                        view.totals.bytes_shared,    freed,
                        view.totals.bytes_copied,    view.totals.bytes_read};
  status_.done_generation = view.position.done_generation;
  status_.deep_generation = view.position.deep_generation;
  status_.table_bytes = view.table_bytes;
  status_.table_cells = view.table.cells;
  status_.table_capacity = view.table.capacity;
  status_.table_level = view.table.level;
}

void Reporter::measure_rates() {
  const auto now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - rated_).count();
  if (seconds < kLeastSeconds) return;
  const std::uint64_t read = progress_.counters.bytes_read_asked;
  const std::uint64_t scanned = progress_.counters.bytes_progress;
  if (rated_ != Clock::time_point{}) {
    status_.read_rate = static_cast<double>(read - rated_read_) / seconds;
    status_.scan_rate = static_cast<double>(scanned - rated_scanned_) / seconds;
  }
  rated_ = now;
  rated_read_ = read;
  rated_scanned_ = scanned;
}

void Reporter::write() {
  const std::string now = status_json(status_);
  Status dated = status_;
  dated.written = std::time(nullptr);
  absl::Status status;
  if (now != written_) status = write_status(run_dir_, dated);
  if (status.ok()) written_ = now;
  const bool due = Clock::now() - metrics_written_ >= kMetricsEvery && now != in_metrics_;
  if (!metrics_dir_.empty() && due) {
    metrics_written_ = Clock::now();
    in_metrics_ = now;
    status.Update(write_metrics(metrics_dir_, dated));
  }
  if (!status.ok() && !std::exchange(told_, true)) spdlog::warn("{}", message_of(status));
}

std::string Reporter::line() const {
  const auto freed =
      fmt::format("{} freed since the start", format_size(status_.since_start.freed));
  if (status_.phase == "stopping") return "Stopping";
  if (status_.phase == "unmounted") return "Not mounted; waiting";
  if (status_.phase == "held") return fmt::format("Waiting: {}; {}", status_.hold_text, freed);
  if (status_.phase == "failing") {
    return fmt::format("Failing: {}; next try at {}", status_.last_error,
                       time_of_day(status_.next_try));
  }
  if (status_.phase != "working") return fmt::format("Nothing to do; {}", freed);
  return fmt::format("Working, {:.0f} %; {}", status_.progress * 100, freed);
}

std::string Reporter::report(const Facts& facts) {
  status_.mount = facts.mount;
  status_.hold = facts.hold.word;
  status_.hold_text = facts.hold.text;
  status_.slowed = facts.hold.slowed;
  const bool held = !facts.hold.word.empty() && !facts.hold.slowed;
  const bool failing = !facts.failing.empty();
  status_.phase = facts.stopping        ? "stopping"
                  : facts.mount.empty() ? "unmounted"
                  : held                ? "held"
                  : facts.working       ? "working"
                  : failing             ? "failing"
                                        : "idle";
  status_.next_try = status_.phase == "failing" ? facts.next_try : 0;
  status_.generation = facts.generation;
  describe_work(facts);
  describe_totals(facts.view);
  measure_rates();
  write();
  return line();
}

void Reporter::close() {
  unlink((run_dir_ + "/status.json").c_str());
  lock_ = {};
}

}  // namespace skep::service
