// SPDX-License-Identifier: MIT
#include "skep/service/run_once.h"

#include <spdlog/spdlog.h>

#include <chrono>

#include "skep/btrfs/status.h"
#include "skep/dedupe/rounds.h"
#include "skep/service/session.h"

namespace skep::service {
namespace {

using Clock = std::chrono::steady_clock;
// At least every few minutes; a checkpoint costs two small writes.
constexpr auto kCheckpointEvery = std::chrono::seconds(60);

// One run, from the first pass to the last checkpoint.
class Run {
 public:
  Run(Session& session, const Settings& settings, Progress& progress, const std::atomic<bool>& stop)
      : fs_(*session.filesystem),
        state_(*session.state),
        fingerprinter_(fs_.info(), settings.fingerprint),
        table_(*session.table),
        progress_(progress),
        checkpoint_(state_.checkpoint()),
        before_(checkpoint_.totals),
        rounds_({fs_, fingerprinter_, table_, progress.counters, settings.engine, stop},
                checkpoint_.position, hooks()) {}

  absl::Status run(Summary& summary);

 private:
  dedupe::Rounds::Hooks hooks();
  absl::Status save();

  btrfs::Filesystem& fs_;
  StateDir& state_;
  const index::Fingerprinter fingerprinter_;
  index::Table& table_;
  Progress& progress_;
  Checkpoint checkpoint_;
  const Totals before_;
  dedupe::Rounds rounds_;
  Clock::time_point saved_;
};

dedupe::Rounds::Hooks Run::hooks() {
  return {[this] {
            if (Clock::now() - saved_ < kCheckpointEvery) return;
            if (auto status = save(); !status.ok()) spdlog::warn("{}", message_of(status));
          },
          [this](std::uint64_t bytes) { progress_.total_bytes += bytes; },
          [this] { ++progress_.pass; }};
}

absl::Status Run::save() {
  saved_ = Clock::now();
  const std::uint64_t runs = checkpoint_.totals.runs;
  checkpoint_.totals = sum(before_, progress_.counters);
  checkpoint_.totals.runs = runs;
  if (auto status = table_.save(); !status.ok()) return status;
  return state_.save(checkpoint_);
}

absl::Status Run::run(Summary& summary) {
  const auto begin = Clock::now();
  auto before = fs_.space();
  summary.resumed = checkpoint_.position.unfinished;
  auto status = rounds_.run();
  summary.passes = progress_.pass;
  if (absl::IsCancelled(status) || absl::IsResourceExhausted(status)) {
    summary.result = Result::kStopped;
    summary.stop_reason =
        absl::IsCancelled(status) ? "stopped by a signal" : std::string(message_of(status));
    status = absl::OkStatus();
  }
  if (!status.ok()) summary.result = Result::kFailed;
  ++checkpoint_.totals.runs;
  if (auto saved = save(); !saved.ok() && status.ok()) {
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
  out.summary.filesystem = session.filesystem->info().uuid;
  Run run(session, options.settings, progress, stop);
  out.status = run.run(out.summary);
  return out;
}

}  // namespace skep::service
