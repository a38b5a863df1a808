// SPDX-License-Identifier: MIT
//
// Blocks that are met alone, between others: they may be strangers, which have the checksum alone
// in common, and are read before a plan rests on them where that is frequent.
#include "collision.h"
#include "pipeline.h"

namespace skep::dedupe {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix
using btrfs::FileKey;

// With the table of a filesystem so large that strangers are frequent.
struct Crowded : Pipeline {
  void crowd_table() {
    index::TableOptions table_options;
    table_options.size_bytes = 48 << 20;
    auto opened = index::Table::open(folder.file("crowded"), table_options);
    REQUIRE(opened.ok());
    table = *std::move(opened);
    for (std::uint64_t i = 1; i <= 4'400'000; ++i) table->insert(index::mix(i), i << 30);
    REQUIRE(table->usage().level == 0);
  }
};

// A victim of which one block, between others that are stored elsewhere, has the checksum of a
// block of a third extent, and other bytes.
struct Stranger : Crowded {
  // Longer, so that they are settled before the victim is met.
  const Bytes keeper = distinct_blocks(1, 40), other = distinct_blocks(2, 40);
  Bytes lone = part(other, 5, 1);
  FileKey others, victim;

  Stranger() {
    change_without_checksum(lone);
    file(keeper);
    others = file(other);
    victim = file(joined(joined(part(keeper, 0, 4), lone), part(keeper, 4, 4)));
  }
};

TEST_CASE_METHOD(Stranger,
                 "where strangers are frequent a lone block is read before it is planned") {
  crowd_table();
  const auto batches = plan();
  const auto plans = plans_of(batches);
  INFO(name_of(verdict_on(batches, address_of(victim))));
  REQUIRE(plans.size() == 1);
  CHECK(counters.lone_read == 1);
  CHECK(counters.lone_strangers == 1);
  CHECK(plans[0].copied_bytes == kBlock);
  CHECK(counters.share_differs == 0);
}

TEST_CASE_METHOD(Stranger,
                 "lone blocks that were forged are read until it is known that they are") {
  crowd_table();
  for (std::size_t i = 1; i < 2 * Strangers::kEnough; ++i) {
    Bytes forged = lone;
    change_without_checksum(forged, 1000 + 8 * i);
    file(joined(joined(part(keeper, 0, 4), forged), part(keeper, 4, 4)));
  }
  const auto plans = plans_of(plan());
  CHECK(plans.size() == 2 * Strangers::kEnough);
  for (const ReplacementPlan& plan : plans) CHECK(plan.copied_bytes == kBlock);
  CHECK(counters.lone_read == Strangers::kEnough);
  CHECK(counters.stranger_pairs == Strangers::kEnough);
}

TEST_CASE_METHOD(Stranger, "a lone block that cannot be compared is planned as if it were equal") {
  crowd_table();
  SECTION("because nobody holds it any more: what holds it may go, and is looked at again") {
    fs.set_on_call([&](std::string_view call) {
      if (call == "file_map") fs.remove(others).IgnoreError();
    });
    CHECK(plans_of(plan()).empty());
    CHECK(roles.take_deferred().size() == 2);
  }
  SECTION("because a file cannot be opened") {
    btrfs::FaultPlan missing;
    missing.not_found = 1;
    fs.set_on_call([&](std::string_view call) {
      fs.set_faults(call == "open" ? missing : btrfs::FaultPlan{});
    });
    const auto plans = plans_of(plan());
    fs.set_on_call(nullptr);
    fs.set_faults({});
    REQUIRE(plans.size() == 1);
    CHECK(plans[0].copied_bytes == 0);
  }
  CHECK(counters.lone_read == 0);
  CHECK(counters.lone_strangers == 0);
}

TEST_CASE_METHOD(Crowded, "a lone block that is equal is shared where strangers are frequent") {
  crowd_table();
  const Bytes keeper = distinct_blocks(1, 40), other = distinct_blocks(2, 40);
  file(keeper);
  file(other);
  file(joined(joined(part(keeper, 0, 4), part(other, 5, 1)), part(keeper, 4, 4)));
  const auto plans = plans_of(plan());
  REQUIRE(plans.size() == 1);
  CHECK(counters.lone_read == 1);
  CHECK(counters.lone_strangers == 0);
  CHECK(plans[0].copied_bytes == 0);
}

TEST_CASE_METHOD(Stranger, "where they are rare a lone block is believed, and found out once") {
  auto batches = plan();
  const auto plans = plans_of(batches);
  REQUIRE(plans.size() == 1);
  CHECK(counters.lone_read == 0);
  CHECK(plans[0].copied_bytes == 0);
  for (auto& batch : batches) REQUIRE(apply(batch).ok());
  CHECK(counters.share_differs == 1);
  CHECK((fs.read_all(victim) == joined(joined(part(keeper, 0, 4), lone), part(keeper, 4, 4))));
}

}  // namespace
}  // namespace skep::dedupe
