// SPDX-License-Identifier: MIT
#include "skep/dedupe/roles.h"

#include "catch.h"
#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

TEST_CASE("an extent that is going cannot be pinned") {
  Roles roles;
  CHECK(roles.set_going(1));
  CHECK(roles.going(1));
  CHECK_FALSE(roles.pin(1));
  CHECK_FALSE(roles.pinned(1));
  CHECK_FALSE(roles.is_keeper(1));
  roles.clear_going(1);
  CHECK_FALSE(roles.going(1));
  CHECK(roles.pin(1));
}

TEST_CASE("a keeper cannot be planned to go") {
  Roles roles;
  CHECK(roles.pin(1));
  CHECK_FALSE(roles.set_going(1));
  CHECK_FALSE(roles.going(1));
  roles.remember(1);
  roles.unpin(1);
  CHECK_FALSE(roles.set_going(1));
  roles.forget_keepers();
  CHECK(roles.set_going(1));
}

TEST_CASE("an extent is pinned until each pin is undone") {
  Roles roles;
  CHECK(roles.pin(1));
  CHECK(roles.pin(1));
  roles.unpin(1);
  CHECK(roles.pinned(1));
  roles.unpin(1);
  CHECK_FALSE(roles.pinned(1));
  roles.unpin(1);
  CHECK_FALSE(roles.pinned(1));
}

TEST_CASE("a keeper is remembered after its pins, until a commit") {
  Roles roles;
  roles.pin(1);
  roles.pin(2);
  roles.pin(3);
  roles.remember(1);
  roles.unpin(1);
  roles.unpin(3);  // refused: it got no references
  CHECK(roles.is_keeper(1));
  CHECK(roles.is_keeper(2));
  roles.forget_keepers();
  CHECK_FALSE(roles.is_keeper(1));
  CHECK(roles.is_keeper(2));  // still pinned
  CHECK_FALSE(roles.is_keeper(3));
}

TEST_CASE("the memory of keepers is bounded, and the oldest go first") {
  Roles roles;
  constexpr std::uint64_t kMany = 2 * limits::kRememberedKeepers;
  for (std::uint64_t i = 1; i <= kMany; ++i) {
    roles.pin(i);
    roles.remember(i);
    if (i != 1) roles.unpin(i);
  }
  CHECK(roles.is_keeper(1));  // pinned
  CHECK_FALSE(roles.is_keeper(2));
  CHECK(roles.is_keeper(kMany));
  CHECK(roles.is_keeper(kMany - limits::kRememberedKeepers / 2 + 1));
}

TEST_CASE("deferred extents come back by address, each once") {
  Roles roles;
  CHECK(roles.defer(30, 3));
  CHECK(roles.defer(10, 1));
  CHECK(roles.defer(20, 2));
  CHECK(roles.defer(10, 1));
  const auto deferred = roles.take_deferred();
  REQUIRE(deferred.size() == 3);
  CHECK(deferred[0].address == 10);
  CHECK(deferred[0].length == 1);
  CHECK(deferred[1].address == 20);
  CHECK(deferred[2].address == 30);
  CHECK(roles.take_deferred().empty());
}

TEST_CASE("what does not fit is not deferred") {
  Roles roles;
  for (std::uint64_t i = 0; i < limits::kDeferred; ++i) {
    if (!roles.defer(i, 1)) FAIL("at " << i);
  }
  CHECK_FALSE(roles.defer(limits::kDeferred, 1));
  CHECK(roles.take_deferred().size() == limits::kDeferred);
  CHECK(roles.defer(1, 1));
}

}  // namespace
}  // namespace skep::dedupe
