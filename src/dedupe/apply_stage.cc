// SPDX-License-Identifier: MIT
#include "skep/dedupe/apply_stage.h"

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "read_ahead.h"
#include "remnants.h"
#include "sharer.h"
#include "skep/btrfs/status.h"
#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

// Ranges of a batch that are copied because they differ after all: at 32 bits a checksum, some in a
// hundred thousand blocks do. Many more mean that files are being rewritten, not worth a copy.
constexpr std::uint64_t kMostSecondChances = 64;

// One share of one plan, with its source settled.
struct Task {
  std::size_t plan = 0;
  SourceKind kind = SourceKind::kFile;
  btrfs::ExtentKind copies;  // in which temporary file the source is, for those of skep's own
  btrfs::FileKey source;
  std::uint64_t source_offset = 0;
  btrfs::FileKey target;
  std::uint64_t target_offset = 0;
  std::uint64_t length = 0;
};

bool same_source(const Task& a, const Task& b) {
  return a.kind == b.kind && a.copies == b.copies && a.length == b.length && a.source == b.source &&
         a.source_offset == b.source_offset;
}

// Tails take a block each, which nothing makes smaller: those of compressed victims go with others.
btrfs::ExtentKind kind_of_tails(btrfs::ExtentKind victim) { return {0, victim.nodatasum}; }

// Targets in one call with `task`: the kernel compares the source once more with each.
std::size_t most_targets(const Task& task, const Steps& steps) {
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
    share_all(SourceKind::kFile, file_tasks_);
    share_all(SourceKind::kZero, zero_tasks_);
    // Before anything of a plan that may yet fail is shared with its copies.
    give_second_chances();
    share_all(SourceKind::kCopy, copy_tasks_);
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
  void share_all(SourceKind kind, std::vector<Task>& tasks);
  void share_group(btrfs::File& source, std::uint64_t offset, std::span<const Task> group);
  std::shared_ptr<btrfs::File> source_of(const Task& task);
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
  void give_second_chance(const Task& task);
  bool still_refers(const Task& task) const;
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
  std::vector<Task> file_tasks_, zero_tasks_, copy_tasks_, tail_tasks_, differing_;
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
    if (verdicts_[p] != Verdict::kFreed) continue;
    for (const Share& share : plans_[p].shares) {
      Task task{p,
                share.kind,
                plans_[p].kind,
                share.source,
                share.source_offset,
                share.target,
                share.target_offset,
                share.length};
      switch (share.kind) {
        case SourceKind::kFile:
          task.copies = {};
          file_tasks_.push_back(task);
          break;
        case SourceKind::kZero:
          task.copies = kind_of_tails(task.copies);
          for (; task.length > limits::kZeroBytes; task.length -= limits::kZeroBytes) {
            Task piece = task;
            piece.length = limits::kZeroBytes;
            zero_tasks_.push_back(piece);
            task.target_offset += limits::kZeroBytes;
          }
          task.source_offset = 0;
          zero_tasks_.push_back(task);
          break;
        case SourceKind::kCopy:
          task.source_offset += copy_begin_[p];
          copy_tasks_.push_back(task);
          break;
        case SourceKind::kTailCopy:
          task.copies = kind_of_tails(task.copies);
          task.source_offset += first_tail_[p];
          tail_tasks_.push_back(task);
          break;
      }
    }
  }
}

std::shared_ptr<btrfs::File> Application::source_of(const Task& task) {
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

// Tasks with the same source range go in one call; the sort is stable, so that reads keep their
// physical order otherwise.
void Application::share_all(SourceKind kind, std::vector<Task>& tasks) {
  if (kind == SourceKind::kZero) {
    std::stable_sort(tasks.begin(), tasks.end(), [](const Task& a, const Task& b) {
      return std::tuple(a.copies, a.length) < std::tuple(b.copies, b.length);
    });
  } else {
    // Snapshots refer to an extent in the same way: their ranges of one source range come together.
    for (auto first = tasks.begin(); first != tasks.end();) {
      auto end =
          std::find_if(first, tasks.end(), [&](const Task& t) { return t.plan != first->plan; });
      std::stable_sort(first, end, [](const Task& a, const Task& b) {
        return std::tuple(a.source, a.source_offset, a.length) <
               std::tuple(b.source, b.source_offset, b.length);
      });
      first = end;
    }
  }
  ReadAhead ahead(fs_, counters_, steps_);
  // The prefetch stage has asked for the first of them.
  std::size_t asked = 0;
  std::uint64_t asked_bytes = 0, shared_bytes = 0;
  for (std::size_t i = 0; i < tasks.size();) {
    const std::uint64_t most_ahead = steps_.ahead_bytes();
    for (; asked < tasks.size() && asked_bytes < shared_bytes + most_ahead; ++asked) {
      const Task& task = tasks[asked];
      if (asked_bytes >= most_ahead || kind != SourceKind::kFile) {
        ahead.add(task.target, task.target_offset, task.length);
        if (kind == SourceKind::kFile) ahead.add(task.source, task.source_offset, task.length);
      }
      asked_bytes += task.length * (kind == SourceKind::kFile ? 2 : 1);
    }
    ahead.flush();
    std::size_t end = i + 1;
    while (end < tasks.size() && end - i < most_targets(tasks[i], steps_) &&
           same_source(tasks[i], tasks[end])) {
      ++end;
    }
    for (std::size_t t = i; t < end; ++t) {
      shared_bytes += tasks[t].length * (kind == SourceKind::kFile ? 2 : 1);
    }
    if (auto source = source_of(tasks[i])) {
      share_group(*source, tasks[i].source_offset, std::span(tasks).subspan(i, end - i));
    } else {
      for (std::size_t t = i; t < end; ++t) fail(tasks[t].plan, Verdict::kChanged);
    }
    i = end;
  }
}

void Application::share_group(btrfs::File& source, std::uint64_t offset,
                              std::span<const Task> group) {
  std::vector<btrfs::DedupeTarget> targets;
  std::vector<const Task*> of_target;
  for (const Task& task : group) {
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
    const Task& task = *of_target[i];
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
  if (tail_tasks_.empty()) return;
  std::stable_sort(tail_tasks_.begin(), tail_tasks_.end(), [](const Task& a, const Task& b) {
    return std::tuple(a.copies, b.source_offset) < std::tuple(b.copies, a.source_offset);
  });
  std::optional<btrfs::ExtentKind> located;
  for (std::size_t i = 0; i < tail_tasks_.size();) {
    std::size_t end = i + 1;
    while (end < tail_tasks_.size() && end - i < btrfs::kMaxDedupeTargets &&
           same_source(tail_tasks_[i], tail_tasks_[end])) {
      ++end;
    }
    const std::uint64_t number = tail_tasks_[i].source_offset;
    Remnants& files = remnants(tail_tasks_[i].copies);
    if (auto status = files.end_at_tail(number); !status.ok()) {
      fail(tail_tasks_[i].plan, status);
    } else {
      share_group(*files.tails(), files.tail_offset(number),
                  std::span(tail_tasks_).subspan(i, end - i));
      // The extent is on disk once a range of it was shared; later cuts take its items away.
      if (located != tail_tasks_[i].copies) locate_tails(tail_tasks_[i].copies);
      located = tail_tasks_[i].copies;
    }
    i = end;
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
  for (const Task& task : tail_tasks_) {
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

bool Application::still_refers(const Task& task) const {
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
  for (const Task& task : differing_) wanted[task.plan] += task.length;
  for (const Task& task : differing_) {
    const ReplacementPlan& plan = plans_[task.plan];
    const bool gains = plan.copied_bytes + wanted[task.plan] <= plan.most_copied_bytes;
    if (!gains || task.length % block_ != 0 || !still_refers(task)) {
      fail(task.plan, Verdict::kDiffers);
    }
  }
  for (const Task& task : differing_) {
    if (verdicts_[task.plan] == Verdict::kFreed) give_second_chance(task);
  }
}

void Application::give_second_chance(const Task& task) {
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
