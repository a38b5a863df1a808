// SPDX-License-Identifier: MIT
#include "sharer.h"

#include <absl/time/clock.h>

#include <algorithm>
#include <cerrno>

#include "skep/btrfs/status.h"
#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

Verdict verdict_of(int error) {
  switch (error) {
    case EAGAIN:
    case ETXTBSY:
      return Verdict::kBusy;
    case EPERM:
    case EACCES:
      return Verdict::kImmutable;
    case EINVAL:  // the file was cut, or changed its NOCOW flag
    case ENOENT:
      return Verdict::kChanged;
    default:
      return Verdict::kFailed;
  }
}

}  // namespace

std::vector<Sharer::Pending> Sharer::call(btrfs::File& source, std::uint64_t offset,
                                          std::uint64_t length,
                                          std::span<const btrfs::DedupeTarget> targets,
                                          std::span<const Pending> pending,
                                          std::vector<Verdict>& verdicts) {
  // All of `pending` have done equally much: those that lag behind are asked in a call of their
  // own.
  const std::uint64_t done = pending.front().done;
  std::vector<btrfs::DedupeTarget> asked;
  for (const Pending& p : pending) {
    asked.push_back({targets[p.target].file, targets[p.target].offset + done});
  }
  ++counters_.share_calls;
  counters_.share_ranges += asked.size();
  absl::StatusOr<std::vector<btrfs::DedupeResult>> results;
  {
    const auto phase = [&] {
      const Stopwatch watch(counters_.nanos_share_wait);
      return InPhase(gate_, PhaseGate::kSharing);
    }();
    results = fs_.dedupe(source, offset + done, length - done, asked);
  }
  std::vector<Pending> again;
  for (std::size_t i = 0; i < pending.size(); ++i) {
    Pending next = pending[i];
    Verdict& verdict = verdicts[next.target];
    if (!results.ok()) {
      counters_.share_busy += errno_of(results.status()) == EAGAIN;
      verdict = verdict_of(errno_of(results.status()));
      continue;
    }
    const btrfs::DedupeResult& result = (*results)[i];
    switch (result.outcome) {
      case btrfs::DedupeResult::Outcome::kDiffers:
        ++counters_.share_differs;
        verdict = Verdict::kDiffers;
        break;
      case btrfs::DedupeResult::Outcome::kError:
        if (result.error == EAGAIN && next.retries++ < kSendRetries) {
          ++counters_.share_retries;
          again.push_back(next);
        } else {
          counters_.share_busy += result.error == EAGAIN;
          verdict = verdict_of(result.error);
        }
        break;
      case btrfs::DedupeResult::Outcome::kSame:
        next.done += result.bytes;
        // Success without progress would be asked for ever.
        if (result.bytes == 0) verdict = Verdict::kFailed;
        if (result.bytes != 0 && next.done < length) again.push_back(next);
        break;
    }
  }
  return again;
}

void Sharer::share_piece(btrfs::File& source, std::uint64_t offset, std::uint64_t length,
                         std::span<const btrfs::DedupeTarget> targets,
                         std::vector<Verdict>& verdicts) {
  std::vector<Pending> pending;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (verdicts[i] == Verdict::kFreed) pending.push_back({i, 0, 0});
  }
  while (!pending.empty()) {
    std::vector<Pending> now, later;
    bool waits = false;
    for (const Pending& p : pending) {
      const bool fits = now.size() < btrfs::kMaxDedupeTargets && p.done == pending.front().done;
      (fits ? now : later).push_back(p);
      waits = waits || p.retries != 0;
    }
    if (waits) absl::SleepFor(kSendRetryDelay);
    pending = call(source, offset, length, targets, now, verdicts);
    pending.insert(pending.end(), later.begin(), later.end());
  }
}

std::vector<Verdict> Sharer::share(btrfs::File& source, std::uint64_t offset, std::uint64_t length,
                                   std::span<const btrfs::DedupeTarget> targets) {
  std::vector<Verdict> verdicts(targets.size(), Verdict::kFreed);
  std::vector<btrfs::DedupeTarget> moved(targets.begin(), targets.end());
  for (std::uint64_t done = 0; done < length;) {
    steps_.wait();
    const std::uint64_t piece = std::min(steps_.bytes(), length - done);
    if (const std::uint64_t next = done + piece; next < length) {
      const std::uint64_t ahead = std::min(piece, length - next);
      source.readahead(offset + next, ahead);
      for (const auto& target : targets) target.file->readahead(target.offset + next, ahead);
      counters_.bytes_read_asked += ahead * (1 + targets.size());
    }
    for (std::size_t i = 0; i < targets.size(); ++i) moved[i].offset = targets[i].offset + done;
    share_piece(source, offset + done, piece, moved, verdicts);
    done += piece;
  }
  return verdicts;
}

}  // namespace skep::dedupe
