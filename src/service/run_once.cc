// SPDX-License-Identifier: MIT
#include "skep/service/run_once.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <memory>
#include <utility>

#include "skep/btrfs/status.h"
#include "skep/dedupe/rounds.h"
#include "skep/service/exit_status.h"
#include "skep/service/sizes.h"
#include "target.h"

namespace skep::service {
namespace {

using Clock = std::chrono::steady_clock;
// At least every few minutes; a checkpoint costs two small writes.
constexpr auto kCheckpointEvery = std::chrono::seconds(60);

// One run, from the first pass to the last checkpoint.
class Run {
 public:
  Run(btrfs::Filesystem& fs, StateDir& state, index::Table& table, const RunOptions& options,
      Progress& progress, const std::atomic<bool>& stop)
      : fs_(fs),
        state_(state),
        fingerprinter_(fs.info(), options.fingerprint),
        table_(table),
        progress_(progress),
        checkpoint_(state.checkpoint()),
        before_(checkpoint_.totals),
        rounds_({fs, fingerprinter_, table, progress.counters, options.engine, stop},
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
  checkpoint_.totals.bytes_freed = before_.bytes_freed + progress_.counters.freed_bytes();
  checkpoint_.totals.bytes_copied = before_.bytes_copied + progress_.counters.bytes_copied;
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

Refusal refuse_state(const absl::Status& status) {
  // No room for the table: another size or place has to be named.
  const bool wrong_call = absl::IsFailedPrecondition(status) || absl::IsInvalidArgument(status) ||
                          absl::IsResourceExhausted(status);
  return {wrong_call ? kExitUsage : kExitFailed, std::string(message_of(status))};
}

absl::StatusOr<std::unique_ptr<index::Table>> open_table(btrfs::Filesystem& fs,
                                                         const StateDir& state,
                                                         index::FingerprintKind kind,
                                                         std::uint64_t wanted_bytes) {
  const btrfs::FsInfo& info = fs.info();
  index::TableOptions options{wanted_bytes,    wanted_bytes == 0, info.uuid,
                              info.block_size, info.csum_type,    kind};
  if (options.any_size) {
    auto space = fs.space();
    if (!space.ok()) return space.status();
    options.size_bytes = default_table_bytes(space->data.used, info.block_size);
  }
  return index::Table::open(state.table_path(), options);
}

}  // namespace

std::uint64_t default_table_bytes(std::uint64_t data_bytes, std::uint32_t block_size) {
  const std::uint64_t cells = data_bytes / block_size * 8 / 7;
  return std::clamp<std::uint64_t>(std::bit_ceil(cells * 8), 1ULL << 20, 64ULL << 20);
}

RunResult run_once(const RunOptions& options, Progress& progress, const std::atomic<bool>& stop) {
  RunResult out;
  Target target = open_target(options.mount);
  out.refusal = target.refusal;
  if (target.filesystem == nullptr) return out;
  btrfs::Filesystem& fs = *target.filesystem;
  out.summary.filesystem = fs.info().uuid;
  if (options.state_dir.empty() && has_temporary_uuid(fs.info().uuid)) {
    out.refusal = {kExitUsage,
                   fmt::format("{}: mounted under a temporary UUID, which no state can be "
                               "kept for; name a --state-dir",
                               options.mount)};
    return out;
  }
  auto state = StateDir::open(
      options.state_dir.empty() ? StateDir::default_path(fs.info().uuid) : options.state_dir,
      fs.info().uuid);
  if (!state.ok()) {
    out.refusal = refuse_state(state.status());
    return out;
  }
  if (!state->set_aside_reason().empty()) {
    spdlog::warn("{}/state.json: {}; set aside as state.json.old, beginning anew", state->path(),
                 state->set_aside_reason());
  }
  auto table = open_table(fs, *state, options.fingerprint, options.table_size_bytes);
  if (!table.ok()) {
    out.refusal = refuse_state(table.status());
    return out;
  }
  if (!(*table)->set_aside_reason().empty()) {
    spdlog::info("{}: {}; set aside as table.old, filling a new one", state->table_path(),
                 (*table)->set_aside_reason());
  }
  if (const std::uint64_t before = (*table)->resized_from_bytes(); before != 0) {
    spdlog::info("{}: resized from {} to {}, what fits is kept", state->table_path(),
                 format_size(before), format_size(options.table_size_bytes));
  }
  Run run(fs, *state, **table, options, progress, stop);
  out.status = run.run(out.summary);
  return out;
}

}  // namespace skep::service
