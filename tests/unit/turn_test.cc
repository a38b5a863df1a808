// SPDX-License-Identifier: MIT
#include "skep/service/turn.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "catch.h"
#include "skep/btrfs/descriptor.h"
#include "temporary_folder.h"
#include "testing.h"

namespace skep::service {
namespace {

using testing::never;

// The pace behind a turn: counts what reaches it.
class Behind final : public dedupe::Pace {
 public:
  void before_batch(const std::function<bool()>&) override { ++batches; }
  void batch_done() override { ++done; }
  void between_steps(const std::function<bool()>&) override { ++steps; }
  std::uint64_t step_bytes() const override { return 77; }
  std::atomic<int> batches = 0, done = 0, steps = 0;
};

struct Instance {
  explicit Instance(const testing::TemporaryFolder& folder, const std::string& name) {
    REQUIRE(turn.open(folder.file(name)).ok());
  }
  Behind behind;
  std::atomic<int> began_to_wait = 0, ceased = 0;
  Turn turn{behind, [this](bool waits) { ++(waits ? began_to_wait : ceased); }};
};

bool is_taken(const testing::TemporaryFolder& folder) {
  const btrfs::Descriptor file(open(folder.file("turn").c_str(), O_RDONLY));
  REQUIRE(file);
  return flock(file.get(), LOCK_EX | LOCK_NB) != 0;
}

TEST_CASE("without a file nobody is waited for", "[turn]") {
  Behind behind;
  Turn turn(behind, [](bool) { FAIL("waits"); });
  turn.before_batch(never);
  turn.between_steps(never);
  turn.batch_done();
  turn.give_back();
  CHECK(behind.batches == 1);
  CHECK(behind.steps == 1);
  CHECK(behind.done == 1);
  CHECK(turn.step_bytes() == 77);
}

TEST_CASE("the turn is kept between batches and goes when it is given back", "[turn]") {
  const testing::TemporaryFolder folder;
  Instance one(folder, "one");
  CHECK_FALSE(is_taken(folder));
  one.turn.before_batch(never);
  one.turn.batch_done();
  CHECK(is_taken(folder));
  one.turn.give_back();
  CHECK_FALSE(is_taken(folder));
  one.turn.between_steps(never);  // a rest within a batch is over
  CHECK(is_taken(folder));
  CHECK(one.began_to_wait == 0);
}

TEST_CASE("the file lies beside the run directory, and is its owner's alone", "[turn]") {
  const testing::TemporaryFolder folder;
  for (const char* name : {"one", "one/"}) {
    const Instance instance(folder, name);
    struct stat st {};
    REQUIRE(stat(folder.file("turn").c_str(), &st) == 0);
    CHECK((st.st_mode & 0777) == 0600);
  }
}

TEST_CASE("another instance is waited for, until it gives the turn back", "[turn]") {
  const testing::TemporaryFolder folder;
  Instance one(folder, "one"), other(folder, "other");
  one.turn.before_batch(never);
  std::atomic<bool> has = false;
  std::thread waiting([&] {
    other.turn.before_batch(never);
    has = true;
  });
  while (other.began_to_wait == 0) std::this_thread::yield();
  CHECK_FALSE(has);
  one.turn.give_back();
  waiting.join();
  CHECK(other.ceased == 1);
  CHECK(is_taken(folder));
}

TEST_CASE("stop ends the wait for another instance", "[turn]") {
  const testing::TemporaryFolder folder;
  Instance one(folder, "one"), other(folder, "other");
  one.turn.before_batch(never);
  other.turn.before_batch([&] { return other.began_to_wait > 0; });
  CHECK(other.ceased == 1);
}

TEST_CASE("a turn that cannot be made is told", "[turn]") {
  Behind behind;
  Turn turn(behind, [](bool) {});
  const auto status = turn.open("/nonexistent/skep/run");
  CHECK_FALSE(status.ok());
  CHECK(std::string(status.message()).find("/nonexistent/skep/turn") != std::string::npos);
}

}  // namespace
}  // namespace skep::service
