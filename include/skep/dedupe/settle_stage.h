// SPDX-License-Identifier: MIT
//
// Brings what happened into the table, the totals and the cursor. An extent counts as freed only
// when its item is gone from the extent tree, which shows once the transaction is committed: ends
// are gathered, and verified together after a commit. FIDEDUPERANGE's own answer overstates.
//
// Thread-compatible: one batch at a time, in any order.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/counters.h"
#include "skep/dedupe/crawl.h"
#include "skep/dedupe/keeper_catalog.h"
#include "skep/dedupe/metadata_price.h"
#include "skep/dedupe/roles.h"
#include "skep/dedupe/types.h"
#include "skep/index/table.h"

namespace skep::dedupe {

class SettleStage {
 public:
  struct Parts {
    btrfs::Filesystem& fs;
    index::Table& table;
    KeeperCatalog& catalog;
    MetadataPrice& price;
    Roles& roles;
    Counters& counters;
    std::function<void()> kept;  // called when an extent that was thought gone stays
    // True when cursor() is about to be stored: what is settled is committed before. Null: never.
    std::function<bool()> stores_soon = nullptr;
  };
  SettleStage(Parts parts, Cursor start);

  absl::Status run(Batch& batch);
  // Commits what was shared, and verifies everything that is still open. Plans that failed count
  // too: what they shared before they did gave their keepers references.
  absl::Status verify();
  // Everything before it is settled, and committed: what a checkpoint may store. When the power
  // fails, or a commit, what was shared since the last one is undone, and has to be looked at
  // again.
  Cursor cursor() const { return cursor_; }

 private:
  struct Ending {
    std::uint64_t address = 0, length = 0, generation = 0;
    std::uint64_t duplicate_bytes = 0, zero_bytes = 0;
  };
  void leave(std::uint64_t address, std::uint64_t length, Verdict verdict);
  void settle(const Outcome& outcome);
  void settle_begun(const Outcome& outcome);
  void advance(const Batch& batch);
  absl::Status check_endings();
  void conclude(const Ending& ending, bool gone);
  void learn_price(std::int64_t metadata_before_bytes);

  Parts p_;
  std::vector<Ending> unverified_;
  bool uncommitted_ = false;  // a plan was begun since the last commit
  std::uint64_t estimated_price_ = 0;
  std::int64_t metadata_used_ = -1;  // as on disk, at the last commit; -1: not known
  // Settled batches ahead of `next_batch_`, by number.
  struct Reached {
    Cursor cursor;
    bool dropped = false;
  };
  std::map<std::uint64_t, Reached> ahead_;
  std::uint64_t next_batch_ = 0;
  bool blocked_ = false;  // a dropped batch: the cursors stay before it
  Cursor settled_;
  Cursor cursor_;  // no further than `settled_`
};

}  // namespace skep::dedupe
