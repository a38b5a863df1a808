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
#include "skep/dedupe/scan.h"
#include "skep/dedupe/limits.h"
#include "skep/service/exit_status.h"
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
        fingerprinter_(fs.info(), options.fingerprint),
        options_(options.engine),
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
  void forget_what_was_done_differently();
  void begin(dedupe::PassKind kind, dedupe::Window window);
  absl::Status step(Summary& summary);
  absl::Status quick(Summary& summary);
  absl::Status read_contents();
  absl::Status deep(dedupe::PassKind kind, Summary& summary);
  absl::Status pass(Summary& summary);
  void reached(dedupe::Cursor cursor);
  absl::Status save();

  StateDir& state_;
  btrfs::Filesystem& fs_;
  const index::Fingerprinter fingerprinter_;
  const dedupe::Options options_;
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

void Run::reached(dedupe::Cursor cursor) {
  checkpoint_.cursor = cursor;
  if (Clock::now() - saved_ < kCheckpointEvery) return;
  if (auto status = save(); !status.ok()) spdlog::warn("{}", message_of(status));
}

void Run::begin(dedupe::PassKind kind, dedupe::Window window) {
  checkpoint_.unfinished = true;
  checkpoint_.kind = kind;
  checkpoint_.window = window;
  checkpoint_.cursor = {};
}

// The pass that the checkpoint names, from its cursor to its end.
absl::Status Run::pass(Summary& summary) {
  ++progress_.pass;
  ++summary.passes;
  const std::uint64_t gone = progress_.counters.bytes_gone;
  auto result =
      engine_.run_pass(checkpoint_.kind, checkpoint_.window, checkpoint_.cursor, census_, stop_,
                       [this](dedupe::Cursor cursor) { reached(cursor); });
  checkpoint_.cursor = result.reached;
  spdlog::debug("pass {}: {} bytes gone", summary.passes, progress_.counters.bytes_gone - gone);
  if (!result.status.ok()) return result.status;
  return result.complete ? absl::OkStatus() : absl::CancelledError("stopped");
}

absl::Status Run::quick(Summary& summary) {
  progress_.total_bytes += census_.bytes_from(checkpoint_.cursor.tier);
  checkpoint_.table_generation = std::max(checkpoint_.table_generation, checkpoint_.window.to);
  return pass(summary);
}

absl::Status Run::read_contents() {
  const auto stop = [this] { return stop_.load(); };
  const std::uint64_t done = checkpoint_.window.after;
  if (checkpoint_.contents_generation < done) {
    // The table was lost, and with it what had been read.
    auto status = engine_.read_contents({checkpoint_.contents_generation, done}, 0, stop,
                                        [](std::uint64_t) {});
    if (!status.ok()) return status;
    checkpoint_.contents_generation = done;
  }
  auto status = engine_.read_contents(
      checkpoint_.window, checkpoint_.cursor.address, stop,
      [this](std::uint64_t address) { reached({checkpoint_.cursor.tier, address}); });
  if (status.ok()) checkpoint_.contents_generation = checkpoint_.window.to;
  return status;
}

absl::Status Run::deep(dedupe::PassKind kind, Summary& summary) {
  if (checkpoint_.kind != kind) begin(kind, checkpoint_.window);
  if (!engine_.anything_to_deepen()) return absl::OkStatus();
  const std::uint64_t before = progress_.counters.freed_bytes();
  auto status = pass(summary);
  const std::uint64_t after = progress_.counters.freed_bytes();
  progress_.counters.bytes_deep += after - std::min(before, after);
  return status;
}

// From where the checkpoint stands to the end of the deep passes: the quick pass over everything
// first, so that most space is back early.
absl::Status Run::step(Summary& summary) {
  using dedupe::PassKind;
  const bool resumed = checkpoint_.kind != PassKind::kQuick || checkpoint_.cursor.address != 0;
  // Fills the table with the window's own blocks, so that every extent meets those that come behind.
  auto census = dedupe::scan(fs_, fingerprinter_, checkpoint_.window, table_,
                             [this] { return stop_.load(); });
  if (!census.ok()) return census.status();
  census_ = *census;
  spdlog::debug("generations {} to {}: {} extents", checkpoint_.window.after + 1,
                checkpoint_.window.to,
                std::accumulate(census_.extents.begin(), census_.extents.end(), 0UL));
  if (checkpoint_.kind == PassKind::kQuick) {
    if (fingerprinter_.kind() == index::FingerprintKind::kCsum) {
      if (auto status = quick(summary); !status.ok()) return status;
    }
    checkpoint_.done_generation = checkpoint_.window.to;
    if (options_.depth == dedupe::Depth::kQuick) return absl::OkStatus();
    begin(PassKind::kContentScan, {checkpoint_.deep_generation, checkpoint_.window.to});
  }
  if (checkpoint_.kind == PassKind::kContentScan) {
    if (resumed && checkpoint_.cursor.address != 0) engine_.deepen_everything();
    if (auto status = read_contents(); !status.ok()) return status;
  } else {
    engine_.deepen_everything();
  }
  if (checkpoint_.kind != PassKind::kDeepRead) {
    if (auto status = deep(PassKind::kDeepPlain, summary); !status.ok()) return status;
  }
  auto status = deep(PassKind::kDeepRead, summary);
  if (status.ok()) checkpoint_.deep_generation = checkpoint_.window.to;
  return status;
}

// Losing the table loses speed, not data: what earlier runs have seen goes back into it.
absl::Status Run::refill() {
  if (!table_.reopened()) {
    // Noted before the refill begins: a refill that is cut short is done again.
    checkpoint_.table_generation = checkpoint_.contents_generation = 0;
    if (auto status = save(); !status.ok()) return status;
  }
  const std::uint64_t done = checkpoint_.done_generation;
  if (checkpoint_.table_generation >= done) return absl::OkStatus();
  auto census = dedupe::scan(fs_, fingerprinter_, {checkpoint_.table_generation, done}, table_,
                             [this] { return stop_.load(); });
  if (census.ok()) checkpoint_.table_generation = done;
  return census.status();
}

// Asked for anew, extents without checksums are looked at from the beginning, like everything where
// fingerprints are of another kind than before.
void Run::forget_what_was_done_differently() {
  if (options_.nodatasum && !checkpoint_.nodatasum) {
    checkpoint_.deep_generation = checkpoint_.contents_generation = 0;
    if (checkpoint_.kind != dedupe::PassKind::kQuick) checkpoint_.unfinished = false;
  }
  checkpoint_.nodatasum = options_.nodatasum;
}

absl::Status Run::make_passes(Summary& summary) {
  summary.resumed = checkpoint_.unfinished;
  forget_what_was_done_differently();
  if (auto status = refill(); !status.ok()) return status;
  for (int i = 0; i < dedupe::limits::kPasses; ++i) {
    // Everything written before this instant gets its extents and its checksums.
    if (auto status = fs_.write_back(); !status.ok()) return status;
    auto committed = fs_.sync();
    if (!committed.ok()) return committed.status();
    if (stop_) return absl::CancelledError("stopped");
    const bool resumed = checkpoint_.unfinished;
    if (!resumed) {
      const bool deepened = options_.depth == dedupe::Depth::kQuick ||
                            checkpoint_.deep_generation >= checkpoint_.done_generation;
      if (*committed <= checkpoint_.done_generation && deepened) break;
      begin(dedupe::PassKind::kQuick, {checkpoint_.done_generation, *committed});
    }
    const std::uint64_t gone = progress_.counters.bytes_gone;
    if (auto status = step(summary); !status.ok()) return status;
    checkpoint_.unfinished = false;
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
  const bool wrong_call = absl::IsFailedPrecondition(status) || absl::IsInvalidArgument(status);
  return {wrong_call ? kExitUsage : kExitFailed, std::string(message_of(status))};
}

absl::StatusOr<std::unique_ptr<index::Table>> open_table(btrfs::Filesystem& fs,
                                                         const StateDir& state,
                                                         index::FingerprintKind kind,
                                                         std::uint64_t wanted_bytes) {
  const btrfs::FsInfo& info = fs.info();
  index::TableOptions options{wanted_bytes, wanted_bytes == 0, info.uuid, info.block_size,
                              info.csum_type};
  options.kind = kind;
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
  Run run(fs, *state, **table, options, progress, stop);
  out.status = run.run(out.summary);
  return out;
}

}  // namespace skep::service
