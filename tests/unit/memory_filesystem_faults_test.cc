// SPDX-License-Identifier: MIT
//
// Faults that the in-memory filesystem makes up.
#include <cerrno>

#include "testing.h"

namespace skep::btrfs {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix

struct FaultyFixture {
  MemoryFilesystem fs;
  FileKey a = fs.create(kTopLevelRoot, blocks("ABCDEFGH"));
  FileKey b = fs.create(kTopLevelRoot, blocks("ABCDEFGH"));
  std::shared_ptr<File> source = open_file(fs, a), target = open_file(fs, b);
  DedupeResult dedupe() {
    const DedupeTarget to{target, 0};
    const auto results = fs.dedupe(*source, 0, 8 * kBlock, {&to, 1});
    REQUIRE(results.ok());
    return results->front();
  }
  bool shared() {
    const auto map = fs.file_map(b, 0, kEverything);
    return map->extents[0].extent_address == fs.file_map(a, 0, 1)->extents[0].extent_address;
  }
  ~FaultyFixture() { CHECK(fs.check().ok()); }
};

TEST_CASE_METHOD(FaultyFixture, "io_error fails every call that has a status") {
  const auto file = temporary(fs);
  FaultPlan plan;
  plan.io_error = 1;
  fs.set_faults(plan);
  Bytes buffer(kBlock);
  CHECK(errno_of(fs.generation().status()) == EIO);
  CHECK(errno_of(fs.extents(0, kEverything, 4096).status()) == EIO);
  CHECK(errno_of(fs.csums(0, kEverything, [](auto, auto) {})) == EIO);
  CHECK(errno_of(fs.file_map(a, 0, 1).status()) == EIO);
  CHECK(errno_of(fs.logical_ino(1 << 20, false, 1).status()) == EIO);
  CHECK(errno_of(fs.subvolumes().status()) == EIO);
  CHECK(errno_of(fs.space().status()) == EIO);
  CHECK(errno_of(fs.open(FileHandle(a)).status()) == EIO);
  CHECK(errno_of(fs.create_temporary({}).status()) == EIO);
  CHECK(errno_of(fs.dedupe(*source, 0, kBlock, {}).status()) == EIO);
  CHECK(errno_of(fs.sync().status()) == EIO);
  CHECK(errno_of(source->read(0, buffer).status()) == EIO);
  CHECK(errno_of(file->write(0, buffer)) == EIO);
  CHECK(errno_of(file->truncate(0)) == EIO);
  CHECK(fs.faults_injected() == 14);
  // Builders and lookers are never hit.
  CHECK(fs.write(a, 0, blocks("x")).ok());
  CHECK(fs.read_all(a) == blocks("xBCDEFGH"));
}

TEST_CASE_METHOD(FaultyFixture, "not_found hits lookups") {
  REQUIRE(fs.sync().ok());
  FaultPlan plan;
  plan.not_found = 1;
  fs.set_faults(plan);
  CHECK(errno_of(fs.file_map(a, 0, 1).status()) == ENOENT);
  CHECK(errno_of(fs.logical_ino(1 << 20, false, 9).status()) == ENOENT);
  CHECK(errno_of(fs.open(FileHandle(a)).status()) == ENOENT);
  CHECK(fs.generation().ok());
  CHECK(fs.sync().ok());
}

TEST_CASE_METHOD(FaultyFixture, "no_space hits writes and sharing") {
  const auto file = temporary(fs);
  FaultPlan plan;
  plan.no_space = 1;
  fs.set_faults(plan);
  CHECK(errno_of(file->write(0, blocks("A"))) == ENOSPC);
  CHECK(errno_of(fs.create_temporary({}).status()) == ENOSPC);
  CHECK(is_error(dedupe(), ENOSPC));
  CHECK_FALSE(shared());
}

TEST_CASE_METHOD(FaultyFixture, "try_again and invalid are answers for a target") {
  FaultPlan plan;
  plan.try_again = 1;
  fs.set_faults(plan);
  CHECK(is_error(dedupe(), EAGAIN));
  plan = {};
  plan.invalid = 1;
  fs.set_faults(plan);
  CHECK(is_error(dedupe(), EINVAL));
  CHECK_FALSE(shared());
}

TEST_CASE_METHOD(FaultyFixture, "false_differs says so of equal bytes") {
  FaultPlan plan;
  plan.false_differs = 1;
  fs.set_faults(plan);
  CHECK(dedupe().outcome == DedupeResult::Outcome::kDiffers);
  CHECK_FALSE(shared());
}

TEST_CASE_METHOD(FaultyFixture, "empty_answer succeeds with 0 bytes") {
  FaultPlan plan;
  plan.empty_answer = 1;
  fs.set_faults(plan);
  CHECK(is_same(dedupe(), 0));
  CHECK_FALSE(shared());
}

TEST_CASE_METHOD(FaultyFixture, "short_answer shares the first blocks and says how many") {
  FaultPlan plan;
  plan.short_answer = 1;
  fs.set_faults(plan);
  const DedupeResult result = dedupe();
  CHECK(result.outcome == DedupeResult::Outcome::kSame);
  CHECK(result.bytes > 0);
  CHECK(result.bytes < 8 * kBlock);
  CHECK(result.bytes % kBlock == 0);
  CHECK(shared());
  const FileMap map = [&] {
    fs.set_faults({});
    return map_of(fs, b);
  }();
  REQUIRE(map.extents.size() == 2);
  CHECK(map.extents[0].length == result.bytes);
}

std::vector<int> answers_of(std::uint64_t seed) {
  FaultyFixture fixture;
  FaultPlan plan;
  plan.seed = seed;
  plan.try_again = 0.3;
  plan.false_differs = 0.3;
  fixture.fs.set_faults(plan);
  std::vector<int> out;
  for (int i = 0; i < 64; ++i) {
    const DedupeResult result = fixture.dedupe();
    out.push_back(static_cast<int>(result.outcome) * 1000 + result.error);
  }
  CHECK(fixture.fs.faults_injected() > 0);
  CHECK(fixture.fs.faults_injected() < 64);
  return out;
}

TEST_CASE("equal seeds give equal faults, others give others") {
  CHECK(answers_of(1) == answers_of(1));
  CHECK(answers_of(1) != answers_of(2));
}

TEST_CASE("a fault plan prints its seed and what it does") {
  FaultPlan plan;
  plan.seed = 42;
  CHECK(to_string(plan) == "seed 42");
  plan.try_again = 0.25;
  plan.short_answer = 0.5;
  CHECK(to_string(plan) == "seed 42, try_again 0.25, short_answer 0.5");
}

}  // namespace
}  // namespace skep::btrfs
