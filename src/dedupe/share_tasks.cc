// SPDX-License-Identifier: MIT
#include "share_tasks.h"

#include <algorithm>
#include <tuple>

#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

bool same_source(const ShareTask& a, const ShareTask& b) {
  return a.kind == b.kind && a.copies == b.copies && a.length == b.length && a.source == b.source &&
         a.source_offset == b.source_offset;
}

// In pieces: the file of zeros is as long as one of them.
void add_zeros(ShareTask task, std::vector<ShareTask>& out) {
  task.source_offset = 0;
  const std::uint64_t end = task.target_offset + task.length;
  for (; task.target_offset < end; task.target_offset += limits::kZeroBytes) {
    task.length = std::min(limits::kZeroBytes, end - task.target_offset);
    out.push_back(task);
  }
}

}  // namespace

btrfs::ExtentKind kind_of_tails(btrfs::ExtentKind victim) { return {0, victim.nodatasum}; }

void ShareTasks::add(const ReplacementPlan& plan, std::size_t number, std::uint64_t copy_begin,
                     std::uint64_t first_tail) {
  for (const Share& share : plan.shares) {
    ShareTask task{share, number, plan.kind};
    switch (share.kind) {
      case SourceKind::kFile:
        task.copies = {};
        of_files.push_back(task);
        break;
      case SourceKind::kZero:
        task.copies = kind_of_tails(plan.kind);
        add_zeros(task, of_zeros);
        break;
      case SourceKind::kCopy:
        task.source_offset += copy_begin;
        of_copies.push_back(task);
        break;
      case SourceKind::kTailCopy:
        task.copies = kind_of_tails(plan.kind);
        task.source_offset += first_tail;
        of_tails.push_back(task);
        break;
    }
  }
}

void order_tasks(SourceKind kind, std::vector<ShareTask>& tasks) {
  switch (kind) {
    case SourceKind::kZero:
      std::stable_sort(tasks.begin(), tasks.end(), [](const ShareTask& a, const ShareTask& b) {
        return std::tuple(a.copies, a.length) < std::tuple(b.copies, b.length);
      });
      break;
    case SourceKind::kTailCopy:
      // The last of a file first: each ends the file at its tail.
      std::stable_sort(tasks.begin(), tasks.end(), [](const ShareTask& a, const ShareTask& b) {
        return std::tuple(a.copies, b.source_offset) < std::tuple(b.copies, a.source_offset);
      });
      break;
    case SourceKind::kFile:
    case SourceKind::kCopy:
      // Snapshots refer to an extent in the same way: their ranges of one source range come
      // together.
      for (auto first = tasks.begin(); first != tasks.end();) {
        const auto end = std::find_if(
            first, tasks.end(), [&](const ShareTask& task) { return task.plan != first->plan; });
        std::stable_sort(first, end, [](const ShareTask& a, const ShareTask& b) {
          return std::tuple(a.source, a.source_offset, a.length) <
                 std::tuple(b.source, b.source_offset, b.length);
        });
        first = end;
      }
      break;
  }
}

std::size_t count_same_source(std::span<const ShareTask> tasks, std::size_t most) {
  std::size_t count = 1;
  while (count < std::min(most, tasks.size()) && same_source(tasks[0], tasks[count])) ++count;
  return count;
}

}  // namespace skep::dedupe
