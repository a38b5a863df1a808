// SPDX-License-Identifier: MIT
#include "../../src/dedupe/share_tasks.h"

#include "catch.h"
#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

using btrfs::FileHandle;

constexpr std::uint64_t kBlock = 4096;

Share share(SourceKind kind, std::uint64_t source_offset, std::uint64_t target_inode,
            std::uint64_t length = kBlock) {
  Share out;
  out.kind = kind;
  out.source = FileHandle({5, 256});
  out.source_offset = source_offset;
  out.target = FileHandle({5, target_inode});
  out.length = length;
  return out;
}

TEST_CASE("tasks for zeros are no longer than the file of zeros") {
  ReplacementPlan plan;
  plan.shares = {share(SourceKind::kZero, 0, 300, 2 * limits::kZeroBytes + kBlock)};
  plan.shares[0].target_offset = 7 * kBlock;
  ShareTasks tasks;
  tasks.add(plan, 0, 0, 0);
  REQUIRE(tasks.of_zeros.size() == 3);
  std::uint64_t at = 7 * kBlock;
  for (const ShareTask& task : tasks.of_zeros) {
    CHECK(task.source_offset == 0);
    CHECK(task.target_offset == at);
    at += task.length;
  }
  CHECK(tasks.of_zeros[0].length == limits::kZeroBytes);
  CHECK(tasks.of_zeros[2].length == kBlock);
}

TEST_CASE("tasks name the place of their copies in the file of all plans") {
  ReplacementPlan plan;
  plan.kind = {3, false};  // compressed: its tails are not
  plan.shares = {share(SourceKind::kCopy, kBlock, 300), share(SourceKind::kTailCopy, 1, 301, 100)};
  ShareTasks tasks;
  tasks.add(plan, 4, 10 * kBlock, 20);
  REQUIRE(tasks.of_copies.size() == 1);
  CHECK(tasks.of_copies[0].plan == 4);
  CHECK(tasks.of_copies[0].source_offset == 11 * kBlock);
  CHECK(tasks.of_copies[0].copies == btrfs::ExtentKind{3, false});
  REQUIRE(tasks.of_tails.size() == 1);
  CHECK(tasks.of_tails[0].source_offset == 21);
  CHECK(tasks.of_tails[0].copies == btrfs::ExtentKind{0, false});
}

TEST_CASE("tasks with one source range come together, and the order of plans stays") {
  ReplacementPlan first, second;
  for (const std::uint64_t target : {300, 301, 302}) {
    first.shares.push_back(share(SourceKind::kFile, 0, target));
    first.shares.push_back(share(SourceKind::kFile, kBlock, target));
    second.shares.push_back(share(SourceKind::kFile, 0, target));
  }
  ShareTasks tasks;
  tasks.add(first, 0, 0, 0);
  tasks.add(second, 1, 0, 0);
  order_tasks(SourceKind::kFile, tasks.of_files);
  const std::span all(tasks.of_files);
  REQUIRE(all.size() == 9);
  CHECK(all[5].plan == 0);
  CHECK(all[6].plan == 1);
  CHECK(count_same_source(all, 100) == 3);
  CHECK(count_same_source(all, 2) == 2);
  CHECK(count_same_source(all.subspan(3), 100) == 3);
  CHECK(count_same_source(all.subspan(8), 100) == 1);
}

TEST_CASE("tails are shared from the end of their file to its begin, which is cut meanwhile") {
  ReplacementPlan plan;
  for (const std::uint64_t number : {0, 2, 1, 2}) {
    plan.shares.push_back(share(SourceKind::kTailCopy, number, 300 + number, 100));
  }
  ShareTasks tasks;
  tasks.add(plan, 0, 0, 0);
  order_tasks(SourceKind::kTailCopy, tasks.of_tails);
  CHECK(tasks.of_tails.front().source_offset == 2);
  CHECK(count_same_source(tasks.of_tails, 100) == 2);
  CHECK(tasks.of_tails.back().source_offset == 0);
}

}  // namespace
}  // namespace skep::dedupe
