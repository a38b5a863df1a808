// SPDX-License-Identifier: MIT
#include "worker.h"

#include <malloc.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "skep/btrfs/status.h"
#include "skep/dedupe/rounds.h"

namespace skep::service {
namespace {
// Between two tries to share what a send was in the way of, or what is to be retried. Twice as long
// each time: so it is done at the latest when as much time again has passed as the send took.
constexpr auto kFirstLeftWait = std::chrono::seconds(10);
constexpr auto kLastLeftWait = std::chrono::seconds(3600);
}  // namespace

Worker::Worker(Progress& progress, dedupe::Pace& pace, GenerationWatch& watch,
               std::function<DailyUse()> today)
    : progress_(progress),
      pace_(pace),
      watch_(watch),
      today_(std::move(today)),
      ended_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

Worker::~Worker() {
  if (working()) stop();
}

void Worker::begin(std::string target, const Settings& settings) {
  target_ = std::move(target);
  settings_ = settings;
  stop_ = false;
  progress_.begin("", 0);
  thread_ = std::thread([this] {
    Result result = work();
    // Closed before the end is told: who waits for the filesystem finds it free.
    session_ = {};
    malloc_trim(0);
    {
      absl::MutexLock lock(&mutex_);
      result_ = std::move(result);
    }
    eventfd_write(ended_.get(), 1);
  });
}

Worker::Result Worker::take() {
  thread_.join();
  eventfd_t count = 0;
  eventfd_read(ended_.get(), &count);
  absl::MutexLock lock(&mutex_);
  Result out = *std::move(result_);
  result_.reset();
  return out;
}

bool Worker::ended() const {
  absl::MutexLock lock(&mutex_);
  return result_.has_value();
}

Worker::Result Worker::stop() {
  stop_ = true;
  return take();
}

Worker::View Worker::view() const {
  absl::MutexLock lock(&mutex_);
  return view_;
}

// Another run may have gone on from the state meanwhile: each one counts itself there.
void Worker::adopt_checkpoint() {
  const Checkpoint& found = session_.state->checkpoint();
  if (begun_ && found.totals.runs <= checkpoint_.totals.runs) return;
  checkpoint_ = found;
  before_ = difference(found.totals, progress_.counters);
  if (!begun_) ++before_.runs;
}

// Grows with all that is worth a checkpoint. A generation without new data is not: to write that
// down where the state lies on the filesystem itself would make the next one.
std::uint64_t Worker::happened() const {
  const auto& counters = progress_.counters;
  return counters.extents_scanned + counters.bytes_progress + counters.bytes_copied;
}

void Worker::publish() {
  absl::MutexLock lock(&mutex_);
  const auto usage = session_.table->usage();
  view_ = {checkpoint_.position, usage,
           usage.capacity * sizeof(std::uint64_t) + index::Table::kPageBytes,
           sum(before_, progress_.counters)};
}

absl::Status Worker::write_checkpoint() {
  saved_ = Clock::now();
  const std::uint64_t happened_now = happened();
  checkpoint_.totals = sum(before_, progress_.counters);
  checkpoint_.today = today_();
  if (session_.table != nullptr) {
    if (auto status = session_.table->save(); !status.ok()) return status;
  }
  if (auto status = state_->save(checkpoint_); !status.ok()) return status;
  // Only now: one that failed is still to be written, also when nothing more happens.
  happened_then_ = happened_now;
  never_saved_ = false;
  return absl::OkStatus();
}

absl::Status Worker::save(bool at_once, std::chrono::seconds interval) {
  if (!state_ || (!never_saved_ && happened() == happened_then_)) return absl::OkStatus();
  if (!at_once && Clock::now() - saved_ < interval) return absl::OkStatus();
  // It lay on the filesystem, which is not mounted now: what happened is looked at again.
  if (access(state_->path().c_str(), F_OK) != 0) return absl::OkStatus();
  return write_checkpoint();
}

bool Worker::anything_left() const {
  const auto& position = checkpoint_.position;
  return position.busy_after || !position.retries.empty();
}

bool Worker::left_is_due() const { return anything_left() && Clock::now() >= left_next_; }

void Worker::put_off_left() {
  if (!anything_left()) left_wait_ = {};
  if (!left_is_due()) return;
  left_wait_ = std::clamp<std::chrono::seconds>(left_wait_ * 2, kFirstLeftWait, kLastLeftWait);
  left_next_ = Clock::now() + left_wait_;
}

bool Worker::checkpoint_is_due() const {
  return Clock::now() - saved_ >= settings_.checkpoint_interval;
}

void Worker::advanced() {
  publish();
  if (!checkpoint_is_due()) return;
  if (auto status = write_checkpoint(); !status.ok()) {
    spdlog::warn("{}", message_of(status));
    return;
  }
  recorder_->note(now(), false);
}

Recorder::Now Worker::now() {
  return {*session_.filesystem, sum(before_, progress_.counters), [this] { return stop_.load(); }};
}

Worker::Result Worker::work() {
  const Refusal refusal = open_session(target_, settings_, session_);
  if (refusal.exit_status != 0) {
    return {session_.busy      ? End::kBusy
            : refusal.may_pass ? End::kFailed
                               : End::kRefused,
            refusal.message, refusal.exit_status};
  }
  has_opened_ = true;
  state_ = session_.state;
  adopt_checkpoint();
  if (!recorder_) {
    recorder_.emplace(state_->path(), session_.filesystem->info().uuid, progress_.counters);
  }
  btrfs::Filesystem& fs = *session_.filesystem;
  if (!begun_ || watch_.wants_sync()) {
    // At the start, so that what was written before the start is looked at now: from here on
    // commits are seen.
    auto committed = fs.sync();
    if (!committed.ok()) return {End::kFailed, std::string(message_of(committed.status())), 0};
    watch_.committed(*committed);
  }
  if (!begun_) warn_of_unmatched(fs, settings_.engine.filter);
  begun_ = true;
  publish();
  const index::Fingerprinter fingerprinter(fs.info(), settings_.fingerprint);
  const bool all_sizes = !settings_.engine.filter.extent_bytes.any();
  dedupe::Rounds rounds(
      {fs, fingerprinter, *session_.table, progress_.counters, settings_.engine, stop_, &pace_},
      checkpoint_.position,
      {[this] { advanced(); },
       [this](std::string_view part, std::uint64_t bytes) { progress_.begin(part, bytes); },
       [this](std::uint64_t bytes) { progress_.add(bytes); },
       [this] { return watch_.poll().value_or(0); },
       [&](const dedupe::Census& census) {
         recorder_->begin_anew(now(), all_sizes ? std::optional(census.sizes) : std::nullopt);
       },
       [this] { return checkpoint_is_due(); }});
  if (left_is_due()) rounds.take_up_left();
  Result result = follow(rounds);
  put_off_left();
  publish();
  if (auto status = save(result.end != End::kCaughtUp, settings_.checkpoint_interval);
      !status.ok()) {
    result = {End::kFailed, std::string(message_of(status)), 0};
  } else {
    recorder_->note(now(), result.end == End::kCaughtUp);
  }
  return result;
}

Worker::Result Worker::follow(dedupe::Rounds& rounds) {
  for (;;) {
    if (stop_) return {End::kStopped, {}, 0};
    const auto committed = watch_.poll();
    if (!committed) {
      return {End::kFailed,
              "/sys/fs/btrfs: nothing of this filesystem can be read there; skep "
              "learns from it what is new",
              0};
    }
    const auto moved = rounds.follow(*committed);
    if (moved.ok() && *moved) continue;
    if (moved.ok()) return {End::kCaughtUp, {}, 0};
    const bool cancelled = absl::IsCancelled(moved.status());
    return {cancelled ? End::kStopped : End::kFailed, std::string(message_of(moved.status())), 0};
  }
}

}  // namespace skep::service
