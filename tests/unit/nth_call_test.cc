// SPDX-License-Identifier: MIT
//
// The first, the second, the third ... call of the filesystem fails, until a run completes
// untouched: the next run ends what that one left.
#include <map>
#include <string_view>

#include "pipeline.h"
#include "skep/dedupe/rounds.h"

namespace skep::dedupe {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix
using btrfs::FaultPlan;
using btrfs::FileKey;

struct Disturbed : Pipeline {
  Position position;
  const index::Fingerprinter of_kind;
  std::map<FileKey, Bytes> written;
  std::atomic<std::uint64_t> calls = 0;

  FileKey add(const Bytes& data) {
    const FileKey key = file(data);
    written[key] = data;
    return key;
  }
  explicit Disturbed(index::FingerprintKind kind) : of_kind(fs.info(), kind) {
    for (std::uint64_t copy = 0; copy < 4; ++copy) add(distinct_blocks(copy % 2, 10));
    for (int copy = 0; copy < 2; ++copy) add(head(distinct_blocks(5, 3), 2 * kBlock + 100));
    add(zero_blocks(16));
    Bytes with_a_remnant = distinct_blocks(0, 10);
    const Bytes remnant = distinct_blocks(6, 2);
    with_a_remnant.insert(with_a_remnant.end(), remnant.begin(), remnant.end());
    add(with_a_remnant);
    const FileKey large = add(distinct_blocks(7, 100));
    add(distinct_blocks(7, 100));
    const FileKey clone = fs.create(btrfs::kTopLevelRoot, {});
    REQUIRE(fs.reflink(large, 0, 100 * kBlock, clone, 0).ok());
    written[clone] = written[large];
    constexpr std::uint8_t kZstd = 3;
    for (const std::uint8_t compression : {kZstd, kZstd, std::uint8_t{0}}) {
      const Bytes data = distinct_blocks(8, 30);
      const FileKey key = fs.create(btrfs::kTopLevelRoot, data, 0, compression);
      written[key] = data;
    }
  }
  absl::Status run() {
    return Rounds({fs, of_kind, *table, counters, options, stop}, position, {}).run();
  }
  // One call fails: the n-th from now.
  void fail_at(std::uint64_t n) {
    fs.set_on_call([this, n](std::string_view) {
      const std::uint64_t call = ++calls;
      FaultPlan plan;
      plan.io_error = call == n ? 1 : 0;
      if (call == n || call == n + 1) fs.set_faults(plan);
    });
  }
  void leave_in_peace() {
    fs.set_on_call(nullptr);
    fs.set_faults({});
  }
  std::uint64_t check_used() {
    commit();
    for (const auto& [key, data] : written) CHECK((fs.read_all(key) == data));
    return fs.data_used();
  }
};

std::uint64_t used_without_faults(index::FingerprintKind kind) {
  Disturbed undisturbed(kind);
  REQUIRE(undisturbed.run().ok());
  return undisturbed.check_used();
}

TEST_CASE("whichever call fails, contents stay, and the next run ends the job") {
  const auto kind = GENERATE(index::FingerprintKind::kCsum, index::FingerprintKind::kData);
  const std::uint64_t used = used_without_faults(kind);
  std::uint64_t n = 1;
  for (bool struck = true; struck; ++n) {
    INFO("call " << n << ", fingerprints of kind " << static_cast<int>(kind));
    Disturbed disturbed(kind);
    disturbed.fail_at(n);
    disturbed.run().IgnoreError();
    struck = disturbed.calls >= n;
    disturbed.leave_in_peace();
    disturbed.check_used();
    REQUIRE(disturbed.run().ok());
    CHECK(disturbed.check_used() <= used);
  }
  CHECK(n > 50);
}

}  // namespace
}  // namespace skep::dedupe
