// SPDX-License-Identifier: MIT
#include "skep/service/run_once.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <memory>
#include <numeric>
#include <utility>

#include "skep/btrfs/status.h"
#include "skep/dedupe/engine.h"
#include "skep/dedupe/fingerprint_stage.h"
#include "skep/dedupe/limits.h"
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
      : state_(state),
        fs_(fs),
        fingerprinter_(fs.info()),
        table_(table),
        progress_(progress),
        stop_(stop),
        checkpoint_(state.checkpoint()),
        before_(checkpoint_.totals),
        engine_(fs, fingerprinter_, table, progress.counters, options.engine) {}

  absl::Status run(Summary& summary);

 private:
  absl::Status refill();
  absl::Status make_passes(Summary& summary);
  absl::Status prepare(dedupe::Window window, dedupe::Cursor from);
  dedupe::PassResult pass(dedupe::Window window, dedupe::Cursor from);
  absl::Status save();

  StateDir& state_;
  btrfs::Filesystem& fs_;
  const index::Fingerprinter fingerprinter_;
  index::Table& table_;
  Progress& progress_;
  const std::atomic<bool>& stop_;
  Checkpoint checkpoint_;
  const Totals before_;
  dedupe::Engine engine_;
  dedupe::Census census_;
  Clock::time_point saved_ = Clock::now();
};

absl::Status Run::save() {
  saved_ = Clock::now();
  checkpoint_.totals.bytes_freed = before_.bytes_freed + progress_.counters.freed_bytes();
  checkpoint_.totals.bytes_copied = before_.bytes_copied + progress_.counters.bytes_copied;
  if (auto status = table_.save(); !status.ok()) return status;
  return state_.save(checkpoint_);
}

// Fills the table with the window's own blocks, so that every extent meets those that come behind
// it.
absl::Status Run::prepare(dedupe::Window window, dedupe::Cursor from) {
  auto census = dedupe::scan(fs_, fingerprinter_, window, table_, [this] { return stop_.load(); });
  if (!census.ok()) return census.status();
  census_ = *census;
  checkpoint_.table_generation = std::max(checkpoint_.table_generation, window.to);
  progress_.total_bytes += census_.bytes_from(from.tier);
  return absl::OkStatus();
}

dedupe::PassResult Run::pass(dedupe::Window window, dedupe::Cursor from) {
  checkpoint_.unfinished = true;
  checkpoint_.window = window;
  checkpoint_.cursor = from;
  ++progress_.pass;
  auto result = engine_.run_pass(window, from, census_, stop_, [this](dedupe::Cursor reached) {
    checkpoint_.cursor = reached;
    if (Clock::now() - saved_ < kCheckpointEvery) return;
    if (auto status = save(); !status.ok()) spdlog::warn("{}", message_of(status));
  });
  checkpoint_.cursor = result.reached;
  if (result.complete) {
    checkpoint_.unfinished = false;
    checkpoint_.done_generation = window.to;
  }
  return result;
}

// Losing the table loses speed, not data: what earlier runs have seen goes back into it.
absl::Status Run::refill() {
  if (!table_.reopened()) {
    // Noted before the refill begins: a refill that is cut short is done again.
    checkpoint_.table_generation = 0;
    if (auto status = save(); !status.ok()) return status;
  }
  const std::uint64_t done = checkpoint_.done_generation;
  if (checkpoint_.table_generation >= done) return absl::OkStatus();
  auto census = dedupe::scan(fs_, fingerprinter_, {checkpoint_.table_generation, done}, table_,
                             [this] { return stop_.load(); });
  if (census.ok()) checkpoint_.table_generation = done;
  return census.status();
}

absl::Status Run::make_passes(Summary& summary) {
  summary.resumed = checkpoint_.unfinished;
  if (auto status = refill(); !status.ok()) return status;
  for (int i = 0; i < dedupe::limits::kPasses; ++i) {
    // Everything written before this instant gets its extents and its checksums.
    if (auto status = fs_.write_back(); !status.ok()) return status;
    auto committed = fs_.sync();
    if (!committed.ok()) return committed.status();
    dedupe::Window window{checkpoint_.done_generation, *committed};
    dedupe::Cursor from;
    if (checkpoint_.unfinished) {
      window = checkpoint_.window;
      from = checkpoint_.cursor;
    }
    if (stop_) return absl::CancelledError("stopped");
    if (window.to <= window.after) break;
    if (auto status = prepare(window, from); !status.ok()) return status;
    const std::uint64_t gone = progress_.counters.bytes_gone;
    spdlog::debug("pass {}: generations {} to {}, {} extents", summary.passes + 1, window.after + 1,
                  window.to, std::accumulate(census_.extents.begin(), census_.extents.end(), 0UL));
    const bool resumed = checkpoint_.unfinished;
    auto result = pass(window, from);
    ++summary.passes;
    spdlog::debug("pass {}: {} bytes gone", summary.passes, progress_.counters.bytes_gone - gone);
    if (!result.status.ok()) return result.status;
    if (!result.complete) return absl::CancelledError("stopped");
    if (!resumed && progress_.counters.bytes_gone == gone) break;
  }
  return absl::OkStatus();
}

absl::Status Run::run(Summary& summary) {
  const auto begin = Clock::now();
  auto before = fs_.space();
  auto status = make_passes(summary);
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
                                                         std::uint64_t wanted_bytes) {
  const btrfs::FsInfo& info = fs.info();
  index::TableOptions options{wanted_bytes,    wanted_bytes == 0, info.uuid,
                              info.block_size, info.csum_type,    index::FingerprintKind::kCsum};
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
  auto table = open_table(fs, *state, options.table_size_bytes);
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
