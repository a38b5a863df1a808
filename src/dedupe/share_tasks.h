// SPDX-License-Identifier: MIT
//
// What the plans of a batch ask to be shared, in the order and in the calls in which it is done.
// Helpers of ApplyStage; pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "skep/dedupe/types.h"

namespace skep::dedupe {

// One share of one plan, with its source settled: for copies `source_offset` is in their temporary
// file, for copied tails the tail's number.
struct ShareTask : Share {
  std::size_t plan = 0;
  btrfs::ExtentKind copies;  // in which temporary file the source is, for those of skep's own
};

struct ShareTasks {
  std::vector<ShareTask> of_files, of_zeros, of_copies, of_tails;

  // Of plan number `number`, whose copies begin at byte `copy_begin` of their temporary file, and
  // whose first tail has the number `first_tail`.
  void add(const ReplacementPlan& plan, std::size_t number, std::uint64_t copy_begin,
           std::uint64_t first_tail);
};

// How tails of a victim are stored. They take a block each, which nothing makes smaller: those of
// compressed victims go with others.
btrfs::ExtentKind kind_of_tails(btrfs::ExtentKind victim);

// Brings tasks of one kind in an order in which those with one source range come together, so that
// they go in one call. The order of plans stays, so that reads stay in physical order.
void order_tasks(SourceKind kind, std::vector<ShareTask>& tasks);

// How many tasks, from the first on, have its source range; `most` at most.
std::size_t count_same_source(std::span<const ShareTask> tasks, std::size_t most);

}  // namespace skep::dedupe
