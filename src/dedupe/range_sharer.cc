// SPDX-License-Identifier: MIT
#include "skep/dedupe/range_sharer.h"

#include <absl/time/clock.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "sharer.h"
#include "skep/btrfs/status.h"

namespace skep::dedupe {
namespace {

// The kernel compares page by page, one target after the other, and reads nothing ahead. So that is
// done here, in the same order: the beginning before the call, the rest beside it. To read it all
// before would fill the memory with pages that are dropped again before they are compared.
class ReadingAhead {
 public:
  ReadingAhead(btrfs::NamedFile& source, std::uint64_t offset, std::uint64_t length,
               std::span<const btrfs::RangeTarget> targets) {
    if (length * targets.size() <= kBegin) {
      for (const auto& target : targets) read(source, offset, 0, length, target);
      return;
    }
    const std::uint64_t begin = std::min(length, kBegin);
    read(source, offset, 0, begin, targets.front());
    thread_ = std::thread([this, &source, offset, length, begin, targets] {
      for (const auto& target : targets) {
        read(source, offset, &target == &targets.front() ? begin : 0, length, target);
      }
    });
  }
  ~ReadingAhead() {
    over_ = true;
    if (thread_.joinable()) thread_.join();
  }
  ReadingAhead(const ReadingAhead&) = delete;
  ReadingAhead& operator=(const ReadingAhead&) = delete;

 private:
  static constexpr std::uint64_t kBegin = 32 << 20, kStep = 2 << 20;

  void read(btrfs::NamedFile& source, std::uint64_t offset, std::uint64_t from, std::uint64_t end,
            const btrfs::RangeTarget& target) {
    for (; from < end && !over_; from += kStep) {
      const std::uint64_t length = std::min(kStep, end - from);
      source.readahead(offset + from, length);
      target.file->readahead(target.offset + from, length);
    }
  }

  std::atomic<bool> over_ = false;
  std::thread thread_;
};

bool passes(int error) { return error == EAGAIN || error == EINTR; }

}  // namespace

struct RangeSharer::Job {
  btrfs::NamedFile& source;
  std::uint64_t offset, length;
  std::span<const btrfs::RangeTarget> targets;
  std::vector<RangeOutcome> outcomes;
  std::vector<int> retries;

  bool open(std::size_t i) const {
    const RangeOutcome& outcome = outcomes[i];
    return outcome.done < length && !outcome.differs && !outcome.stopped && outcome.status.ok();
  }
  void fail(std::size_t i, int error) {
    if (passes(error) && retries[i]++ < kSendRetries) {
      absl::SleepFor(kSendRetryDelay);
      return;
    }
    outcomes[i].status = errno_status(error, "FIDEDUPERANGE", "");
  }
  void take(std::size_t i, const btrfs::DedupeResult& result) {
    switch (result.outcome) {
      case btrfs::DedupeResult::Outcome::kDiffers:
        outcomes[i].differs = true;
        return;
      case btrfs::DedupeResult::Outcome::kError:
        return fail(i, result.error);
      case btrfs::DedupeResult::Outcome::kSame:
        break;
    }
    // Success without progress would be asked for ever.
    if (result.bytes == 0) outcomes[i].status = errno_status(0, "FIDEDUPERANGE", "");
    outcomes[i].done = std::min(length, outcomes[i].done + result.bytes);
  }
};

void RangeSharer::call(Job& job, std::span<const std::size_t> which) {
  const std::uint64_t done = job.outcomes[which.front()].done;
  const std::uint64_t piece = std::min(job.length - done, kCallBytes);
  std::vector<btrfs::RangeTarget> asked;
  for (const std::size_t i : which) {
    asked.push_back({job.targets[i].file, job.targets[i].offset + done});
  }
  const ReadingAhead ahead(job.source, job.offset + done, piece, asked);
  const auto results = files_.dedupe(job.source, job.offset + done, piece, asked);
  for (std::size_t k = 0; k < which.size(); ++k) {
    if (results.ok()) {
      job.take(which[k], (*results)[k]);
    } else {
      job.fail(which[k], errno_of(results.status()));
    }
  }
}

void RangeSharer::share_some(Job& job, std::span<const std::size_t> which) {
  for (;;) {
    std::vector<std::size_t> now;
    for (const std::size_t i : which) {
      if (!job.open(i)) continue;
      if (stop_) job.outcomes[i].stopped = true;
      // Those that lag behind are asked in a call of their own.
      if (!stop_ && (now.empty() || job.outcomes[i].done == job.outcomes[now.front()].done)) {
        now.push_back(i);
      }
    }
    if (now.empty()) return;
    call(job, now);
  }
}

std::vector<RangeOutcome> RangeSharer::share(btrfs::NamedFile& source, std::uint64_t offset,
                                             std::uint64_t length,
                                             std::span<const btrfs::RangeTarget> targets) {
  Job job{source,
          offset,
          length,
          targets,
          std::vector<RangeOutcome>(targets.size()),
          std::vector<int>(targets.size())};
  const std::uint64_t piece = std::max<std::uint64_t>(1, std::min(length, kCallBytes));
  const std::size_t per_call = std::min<std::size_t>(btrfs::kMaxDedupeTargets, kCallBytes / piece);
  std::vector<std::size_t> which;
  for (std::size_t first = 0; first < targets.size(); first += per_call) {
    which.clear();
    for (std::size_t i = first; i < std::min(first + per_call, targets.size()); ++i) {
      which.push_back(i);
    }
    share_some(job, which);
  }
  return std::move(job.outcomes);
}

}  // namespace skep::dedupe
