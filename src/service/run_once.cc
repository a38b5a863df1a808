// SPDX-License-Identifier: MIT
#include "skep/service/run_once.h"

#include <spdlog/spdlog.h>

#include <chrono>
#include <optional>

#include "recorder.h"
#include "skep/btrfs/status.h"
#include "skep/dedupe/rounds.h"
#include "skep/service/session.h"
#include "skep/service/throttle.h"

namespace skep::service {
namespace {

using Clock = std::chrono::steady_clock;
// At least every few minutes; a checkpoint costs two small writes.
constexpr auto kCheckpointEvery = std::chrono::seconds(60);

// One run, from the first pass to the last checkpoint.
class Run {
 public:
  Run(Session& session, const RunOptions& options, Progress& progress,
      const std::atomic<bool>& stop)
      : fs_(*session.filesystem),
        state_(*session.state),
        fingerprinter_(fs_.info(), options.settings.fingerprint),
        table_(*session.table),
        progress_(progress),
        scan_only_(options.scan_only),
        checkpoint_(state_.checkpoint()),
        before_(checkpoint_.totals),
        stop_(stop),
        recorder_(state_.path(), fs_.info().uuid, progress.counters),
        throttle_(options.gentle ? options.settings.throttle : ThrottleSettings(),
                  progress.counters, checkpoint_.today),
        rounds_({fs_, fingerprinter_, table_, progress.counters, options.settings.engine, stop,
                 options.gentle ? &throttle_ : nullptr},
                checkpoint_.position, hooks()),
        all_sizes_(!options.settings.engine.filter.extent_bytes.any()) {
    throttle_.set_on_hold([&files = *session.filesystem] { files.let_go_of_files(); });
  }

  absl::Status run(Summary& summary);

 private:
  dedupe::Rounds::Hooks hooks();
  bool checkpoint_is_due() const;
  absl::Status save();
  Totals totals() const;
  Recorder::Now now() const;

  btrfs::Filesystem& fs_;
  StateDir& state_;
  const index::Fingerprinter fingerprinter_;
  index::Table& table_;
  Progress& progress_;
  const bool scan_only_;
  Checkpoint checkpoint_;
  const Totals before_;
  const std::atomic<bool>& stop_;
  Recorder recorder_;
  Throttle throttle_;
  dedupe::Rounds rounds_;
  // A scan has met extents of all lengths.
  const bool all_sizes_;
  Clock::time_point saved_;
};

dedupe::Rounds::Hooks Run::hooks() {
  return {[this] {
            if (!checkpoint_is_due()) return;
            if (auto status = save(); !status.ok()) spdlog::warn("{}", message_of(status));
          },
          [this](std::string_view part, std::uint64_t bytes) { progress_.begin(part, bytes); },
          [this](std::uint64_t bytes) { progress_.add(bytes); },
          [] { return std::uint64_t{0}; },
          [this](const dedupe::Census& census) {
            recorder_.begin_anew(now(), all_sizes_ ? std::optional(census.sizes) : std::nullopt);
          },
          [this] { return checkpoint_is_due(); }};
}

bool Run::checkpoint_is_due() const { return Clock::now() - saved_ >= kCheckpointEvery; }

Totals Run::totals() const {
  Totals out = sum(before_, progress_.counters);
  out.runs = checkpoint_.totals.runs;
  if (scan_only_) {  // nothing was judged
    out.extents_scanned = before_.extents_scanned;
    out.bytes_scanned = before_.bytes_scanned;
  }
  return out;
}

Recorder::Now Run::now() const {
  return {fs_, totals(), [this] { return stop_.load(); }};
}

absl::Status Run::save() {
  saved_ = Clock::now();
  checkpoint_.totals = totals();
  checkpoint_.today = throttle_.daily_use();
  if (auto status = table_.save(); !status.ok()) return status;
  return state_.save(checkpoint_);
}

absl::Status Run::run(Summary& summary) {
  const auto begin = Clock::now();
  auto before = fs_.space();
  summary.resumed = checkpoint_.position.unfinished;
  auto status = scan_only_ ? rounds_.fill_table() : rounds_.run();
  summary.passes = rounds_.passes();
  if (absl::IsCancelled(status) || absl::IsResourceExhausted(status)) {
    summary.result = Result::kStopped;
    summary.stop_reason =
        absl::IsCancelled(status) ? "stopped by a signal" : std::string(message_of(status));
    status = absl::OkStatus();
  }
  if (!status.ok()) summary.result = Result::kFailed;
  if (!scan_only_) ++checkpoint_.totals.runs;
  const auto saved = save();
  if (saved.ok() && !scan_only_) recorder_.run_ended(now());
  if (!saved.ok() && status.ok()) {
    summary.result = Result::kFailed;
    status = saved;
  }
  auto after = fs_.space();
  if (before.ok() && after.ok()) {
    summary.data_used_before = before->data.used;
    summary.data_used_after = after->data.used;
    summary.metadata_growth =
        static_cast<std::int64_t>(after->metadata.used * after->metadata.copies) -
        static_cast<std::int64_t>(before->metadata.used * before->metadata.copies);
  }
  summary.table = table_.usage();
  summary.totals = checkpoint_.totals;
  summary.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  return status;
}

}  // namespace

RunResult run_once(const RunOptions& options, Progress& progress, const std::atomic<bool>& stop) {
  RunResult out;
  Session session;
  out.refusal = open_session(options.target, options.settings, session);
  if (out.refusal.exit_status != 0) return out;
  RunOptions narrowed = options;
  if (!options.scan_only) narrowed.settings.engine.filter.within_subvolume = session.subvolume;
  warn_of_unmatched(*session.filesystem, narrowed.settings.engine.filter);
  out.summary.filesystem = session.filesystem->info().uuid;
  Run run(session, narrowed, progress, stop);
  out.status = run.run(out.summary);
  return out;
}

}  // namespace skep::service
