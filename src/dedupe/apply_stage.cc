// SPDX-License-Identifier: MIT
#include "skep/dedupe/apply_stage.h"

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>
#include <utility>

#include "read_ahead.h"
#include "remnants.h"
#include "share_tasks.h"
#include "sharer.h"
#include "skep/btrfs/status.h"
#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

// Ranges of a batch that are copied because they differ after all: at 32 bits a checksum, some in a
// hundred thousand blocks do. Many more mean that files are being rewritten, not worth a copy.
constexpr std::uint64_t kMostSecondChances = 64;

// Targets in one call with `task`: the kernel compares the source once more with each.
std::size_t most_targets(const ShareTask& task, const Steps& steps) {
  return std::clamp<std::size_t>(steps.ahead_bytes() / std::max<std::uint64_t>(task.length, 1), 1,
                                 btrfs::kMaxDedupeTargets);
}

// Carries out one batch.
class Application {
 public:
  Application(btrfs::Filesystem& fs, PhaseGate& gate, Strangers& strangers, Counters& counters,
              const std::atomic<bool>& stop, const Steps& steps, Batch& batch)
      : fs_(fs),
        strangers_(strangers),
        counters_(counters),
        stop_(stop),
        steps_(steps),
        batch_(batch),
        sharer_(fs, gate, counters, steps),
        block_(fs.info().block_size),
        plans_(std::move(batch.plans)),
        verdicts_(plans_.size(), Verdict::kFreed),
        second_copied_(plans_.size()) {}

  absl::Status run() {
    copy_remnants();
    collect_tasks();
    share_all(SourceKind::kFile, tasks_.of_files);
    share_all(SourceKind::kZero, tasks_.of_zeros);
    // Before anything of a plan that may yet fail is shared with its copies.
    give_second_chances();
    share_all(SourceKind::kCopy, tasks_.of_copies);
    locate_copies();
    share_tails();
    report();
    return fatal_;
  }

 private:
  void fail(std::size_t plan, Verdict verdict) {
    if (verdicts_[plan] == Verdict::kFreed) verdicts_[plan] = verdict;
  }
  void fail(std::size_t plan, const absl::Status& status);
  void copy_remnants();
  void collect_tasks();
  void share_all(SourceKind kind, std::vector<ShareTask>& tasks);
  void share_group(btrfs::File& source, std::uint64_t offset, std::span<const ShareTask> group);
  std::shared_ptr<btrfs::File> source_of(const ShareTask& task);
  Remnants& remnants(btrfs::ExtentKind kind) {
    return remnants_.try_emplace(kind, fs_, kind, steps_).first->second;
  }
  void locate_copies();
  void locate_copies(btrfs::ExtentKind kind, Remnants& remnants);
  void share_tails();
  void locate_tails(btrfs::ExtentKind kind);
  void charge(const Remnants::Layout& layout, std::uint64_t blocks, std::uint64_t begin,
              std::uint64_t copied, std::size_t plan);
  void give_second_chances();
  void give_second_chance(const ShareTask& task);
  bool still_refers(const ShareTask& task) const;
  void report();

  btrfs::Filesystem& fs_;
  Strangers& strangers_;
  Counters& counters_;
  const std::atomic<bool>& stop_;
  const Steps& steps_;
  Batch& batch_;
  // By how they are stored; second chances apart, they come when the others are on disk.
  std::map<btrfs::ExtentKind, Remnants> remnants_, second_remnants_;
  Sharer sharer_;
  const std::uint64_t block_;
  std::vector<ReplacementPlan> plans_;
  std::vector<Verdict> verdicts_;
  std::vector<std::uint64_t> second_copied_;  // bytes of each plan copied because they differed
  std::vector<std::uint64_t> saved_by_compression_;  // bytes of each plan's copies
  std::vector<std::uint64_t> copy_begin_;            // of each plan, in the file of whole blocks
  std::vector<std::uint64_t> first_tail_;  // of each plan, its number in the file of tails
  ShareTasks tasks_;
  std::vector<ShareTask> differing_;
  std::shared_ptr<btrfs::TemporaryFile> zeros_, nodatasum_zeros_;
  std::size_t begun_ = 0;  // plans that are carried out; those behind were dropped by a stop
  absl::Status fatal_;
};

void Application::fail(std::size_t plan, const absl::Status& status) {
  const int error = errno_of(status);
  if (error == ENOSPC || error == EDQUOT) {
    if (fatal_.ok()) fatal_ = absl::ResourceExhaustedError(status.message());
    fail(plan, Verdict::kFailed);
    return;
  }
  // EAGAIN: opening would break a lease, as a file server takes them on what its clients write.
  const bool changes = error == ENOENT || error == ESTALE || error == EINVAL || error == EAGAIN;
  fail(plan, changes ? Verdict::kChanged : Verdict::kFailed);
}

void Application::copy_remnants() {
  saved_by_compression_.resize(plans_.size());
  copy_begin_.resize(plans_.size());
  first_tail_.resize(plans_.size());
  for (; begun_ < plans_.size() && !stop_ && fatal_.ok(); ++begun_) {
    const ReplacementPlan& plan = plans_[begun_];
    if (!plan.copies.empty()) {
      auto begin = remnants(plan.kind).append(plan.copies);
      if (begin.ok()) copy_begin_[begun_] = *begin;
      if (!begin.ok()) fail(begun_, begin.status());
    }
    if (plan.tails.empty()) continue;
    Remnants& tails = remnants(kind_of_tails(plan.kind));
    first_tail_[begun_] = tails.tail_count();
    for (const Copy& tail : plan.tails) {
      auto number = tails.append_tail(tail);
      if (!number.ok()) fail(begun_, number.status());
    }
  }
  for (auto& [kind, files] : remnants_) files.start_writeback();
}

void Application::collect_tasks() {
  for (std::size_t p = 0; p < begun_; ++p) {
    if (verdicts_[p] == Verdict::kFreed) tasks_.add(plans_[p], p, copy_begin_[p], first_tail_[p]);
  }
}

std::shared_ptr<btrfs::File> Application::source_of(const ShareTask& task) {
  switch (task.kind) {
    case SourceKind::kZero: {
      auto& zeros = task.copies.nodatasum ? nodatasum_zeros_ : zeros_;
      if (zeros == nullptr) {
        auto created = fs_.create_temporary(task.copies);
        absl::Status status = created.status();
        if (status.ok()) status = (*created)->truncate(limits::kZeroBytes);
        if (!status.ok()) {
          fail(task.plan, status);
          return nullptr;
        }
        zeros = *std::move(created);
      }
      return zeros;
    }
    case SourceKind::kCopy:
      return {std::shared_ptr<void>(), remnants(task.copies).blocks()};
    case SourceKind::kFile:
    case SourceKind::kTailCopy:  // share_tails() has its source at hand
      break;
  }
  auto opened = fs_.open(task.source);
  if (opened.ok()) return *std::move(opened);
  fail(task.plan, opened.status());
  return nullptr;
}

void Application::share_all(SourceKind kind, std::vector<ShareTask>& tasks) {
  order_tasks(kind, tasks);
  ReadAhead ahead(fs_, counters_, steps_);
  // The prefetch stage has asked for the first of them.
  std::size_t asked = 0;
  std::uint64_t asked_bytes = 0, shared_bytes = 0;
  for (std::size_t i = 0; i < tasks.size();) {
    const std::uint64_t most_ahead = steps_.ahead_bytes();
    for (; asked < tasks.size() && asked_bytes < shared_bytes + most_ahead; ++asked) {
      const ShareTask& task = tasks[asked];
      if (asked_bytes >= most_ahead || kind != SourceKind::kFile) {
        ahead.add(task.target, task.target_offset, task.length);
        if (kind == SourceKind::kFile) ahead.add(task.source, task.source_offset, task.length);
      }
      asked_bytes += task.length * (kind == SourceKind::kFile ? 2 : 1);
    }
    ahead.flush();
    const std::size_t count =
        count_same_source(std::span(tasks).subspan(i), most_targets(tasks[i], steps_));
    const auto group = std::span(tasks).subspan(i, count);
    shared_bytes += count * tasks[i].length * (kind == SourceKind::kFile ? 2 : 1);
    if (auto source = source_of(tasks[i])) {
      share_group(*source, tasks[i].source_offset, group);
    } else {
      for (const ShareTask& task : group) fail(task.plan, Verdict::kChanged);
    }
    i += count;
  }
}

void Application::share_group(btrfs::File& source, std::uint64_t offset,
                              std::span<const ShareTask> group) {
  std::vector<btrfs::DedupeTarget> targets;
  std::vector<const ShareTask*> of_target;
  for (const ShareTask& task : group) {
    // Strangers, as has been found out since it was planned.
    if (strangers_.frequent(plans_[task.plan].only_fingerprint)) {
      fail(task.plan, Verdict::kDiffers);
    }
    // A plan that cannot be finished is not carried on: it would only fragment.
    if (verdicts_[task.plan] != Verdict::kFreed) continue;
    auto file = fs_.open(task.target);
    if (!file.ok()) {
      fail(task.plan, file.status());
      continue;
    }
    targets.push_back({*std::move(file), task.target_offset});
    of_target.push_back(&task);
  }
  if (targets.empty()) return;
  const auto verdicts = sharer_.share(source, offset, group.front().length, targets);
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    const ShareTask& task = *of_target[i];
    if (verdicts[i] == Verdict::kDiffers && task.kind == SourceKind::kFile) {
      strangers_.look_into({source, offset}, {*targets[i].file, task.target_offset}, task.length);
    }
    if (verdicts[i] == Verdict::kDiffers && differing_.size() < kMostSecondChances &&
        task.kind != SourceKind::kCopy && task.kind != SourceKind::kTailCopy) {
      differing_.push_back(task);
    } else if (verdicts[i] != Verdict::kFreed) {
      fail(task.plan, verdicts[i]);
    }
  }
}

void Application::locate_copies() {
  for (auto& [kind, files] : remnants_) {
    if (files.blocks() != nullptr) locate_copies(kind, files);
  }
}

void Application::locate_copies(btrfs::ExtentKind kind, Remnants& remnants) {
  std::uint64_t blocks = 0;
  for (std::size_t p = 0; p < begun_; ++p) {
    if (plans_[p].kind != kind || plans_[p].copies.empty()) continue;
    blocks = std::max(blocks,
                      remnants.block_number(copy_begin_[p]) + plans_[p].copy_fingerprints.size());
  }
  const auto layout = remnants.layout(*remnants.blocks(), blocks);
  for (std::size_t p = 0; p < begun_; ++p) {
    if (plans_[p].kind != kind || plans_[p].copies.empty()) continue;
    const auto& fingerprints = plans_[p].copy_fingerprints;
    const std::uint64_t begin = remnants.block_number(copy_begin_[p]);
    charge(layout, blocks, begin, fingerprints.size(), p);
    if (verdicts_[p] != Verdict::kFreed) continue;
    for (std::size_t i = 0; i < fingerprints.size(); ++i) {
      const auto& place = layout.places[begin + i];
      if (place.address == 0) continue;
      batch_.new_blocks.push_back(
          {fingerprints[i], place.compressed ? place.extent_address : place.address});
    }
  }
}

// What the blocks [begin, begin + copied) of the `blocks` in a temporary file really take, where
// they were compressed: their part of the whole, so that all parts add up.
void Application::charge(const Remnants::Layout& layout, std::uint64_t blocks, std::uint64_t begin,
                         std::uint64_t copied, std::size_t plan) {
  if (blocks == 0 || layout.disk_bytes >= blocks * block_) return;
  const std::uint64_t takes =
      layout.disk_bytes * (begin + copied) / blocks - layout.disk_bytes * begin / blocks;
  saved_by_compression_[plan] += copied * block_ - takes;
}

void Application::share_tails() {
  auto& tasks = tasks_.of_tails;
  order_tasks(SourceKind::kTailCopy, tasks);
  std::optional<btrfs::ExtentKind> located;
  for (std::size_t i = 0; i < tasks.size();) {
    const std::size_t count =
        count_same_source(std::span(tasks).subspan(i), btrfs::kMaxDedupeTargets);
    const std::uint64_t number = tasks[i].source_offset;
    Remnants& files = remnants(tasks[i].copies);
    if (auto status = files.end_at_tail(number); !status.ok()) {
      fail(tasks[i].plan, status);
    } else {
      share_group(*files.tails(), files.tail_offset(number), std::span(tasks).subspan(i, count));
      // The extent is on disk once a range of it was shared; later cuts take its items away.
      if (located != tasks[i].copies) locate_tails(tasks[i].copies);
      located = tasks[i].copies;
    }
    i += count;
  }
}

void Application::locate_tails(btrfs::ExtentKind kind) {
  Remnants& files = remnants(kind);
  const auto layout = files.layout(*files.tails(), files.tail_count());
  for (std::size_t p = 0; p < begun_; ++p) {
    if (kind_of_tails(plans_[p].kind) != kind) continue;
    if (plans_[p].tails.empty()) continue;
    charge(layout, files.tail_count(), first_tail_[p], plans_[p].tails.size(), p);
  }
  for (const ShareTask& task : tasks_.of_tails) {
    if (task.copies != kind) continue;
    const auto& place = layout.places[task.source_offset];
    if (place.address == 0) continue;
    const auto& plan = plans_[task.plan];
    batch_.new_blocks.push_back(
        {plan.tail_fingerprints[task.source_offset - first_tail_[task.plan]], place.address});
    const Reference reference{task.target, task.target_offset, place.address - place.extent_address,
                              block_, task.target_offset + task.length};
    batch_.new_references.push_back({place.address, place.extent_address, reference});
  }
}

bool Application::still_refers(const ShareTask& task) const {
  auto map = fs_.file_map(task.target, task.target_offset, task.target_offset + task.length);
  if (!map.ok()) return false;
  // The items that begin in the range suffice: when none does, the range lies inside one item, and
  // the kernel compares anyway.
  return std::all_of(map->extents.begin(), map->extents.end(), [&](const auto& item) {
    return item.extent_address == plans_[task.plan].victim.address;
  });
}

void Application::give_second_chances() {
  if (differing_.empty()) return;
  // By the same gain rule as when the plan was made, all of a plan's ranges together: else the next
  // pass would meet the copies, take them for the same strangers, and copy again.
  std::vector<std::uint64_t> wanted(plans_.size());
  for (const ShareTask& task : differing_) wanted[task.plan] += task.length;
  for (const ShareTask& task : differing_) {
    const ReplacementPlan& plan = plans_[task.plan];
    const bool gains = plan.copied_bytes + wanted[task.plan] <= plan.most_copied_bytes;
    if (!gains || task.length % block_ != 0 || !still_refers(task)) {
      fail(task.plan, Verdict::kDiffers);
    }
  }
  for (const ShareTask& task : differing_) {
    if (verdicts_[task.plan] == Verdict::kFreed) give_second_chance(task);
  }
}

void Application::give_second_chance(const ShareTask& task) {
  const btrfs::ExtentKind kind = plans_[task.plan].kind;
  Remnants& copies = second_remnants_.try_emplace(kind, fs_, kind, steps_).first->second;
  auto begin = copies.append({{task.target, task.target_offset, task.length}});
  auto file = fs_.open(task.target);
  if (!begin.ok() || !file.ok()) {
    fail(task.plan, begin.ok() ? file.status() : begin.status());
    return;
  }
  const btrfs::DedupeTarget target{*std::move(file), task.target_offset};
  const auto verdicts = sharer_.share(*copies.blocks(), *begin, task.length, {&target, 1});
  // Also when only a part of it could be shared: that part is stored now.
  second_copied_[task.plan] += task.length;
  if (verdicts.front() != Verdict::kFreed) fail(task.plan, verdicts.front());
}

void Application::report() {
  batch_.dropped = batch_.dropped || begun_ < plans_.size();
  for (std::size_t p = 0; p < plans_.size(); ++p) {
    ReplacementPlan& plan = plans_[p];
    Outcome outcome;
    outcome.begun = p < begun_;
    outcome.verdict = outcome.begun ? verdicts_[p] : Verdict::kUnique;
    outcome.victim = std::move(plan.victim);
    // Of a plan that failed too: its copies may lie in one extent with those of others, and stay.
    outcome.copied_bytes = second_copied_[p];
    if (outcome.begun) {
      const std::uint64_t written = (plan.copy_fingerprints.size() + plan.tails.size()) * block_;
      outcome.copied_bytes += written - saved_by_compression_[p];
    }
    outcome.duplicate_bytes = plan.duplicate_bytes;
    outcome.zero_bytes = plan.zero_bytes;
    outcome.fragments = plan.fragments;
    outcome.price_bytes = plan.price_bytes;
    outcome.keepers = std::move(plan.keepers);
    outcome.victim_blocks = std::move(plan.victim_blocks);
    batch_.outcomes.push_back(std::move(outcome));
  }
}

}  // namespace

absl::Status ApplyStage::run(Batch& batch) {
  if (batch.plans.empty()) return absl::OkStatus();
  const Stopwatch watch(counters_.nanos_share);
  return Application(fs_, gate_, strangers_, counters_, stop_, steps_, batch).run();
}

}  // namespace skep::dedupe
