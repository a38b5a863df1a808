// SPDX-License-Identifier: MIT
//
// The first, the second, the third ... call fails while plans are carried out, in one thread: what
// nth_call_test does to whole runs, whose threads meet their calls in another order each time.
#include <absl/status/status.h>

#include <string_view>
#include <utility>
#include <vector>

#include "pipeline.h"

namespace skep::dedupe {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix
using btrfs::FaultPlan;
using btrfs::FileKey;

// Plans with sources of all kinds, of which one differs at first and gets a second chance.
struct Mixed : Pipeline {
  const Bytes one = distinct_blocks(1, 12);
  std::vector<std::pair<FileKey, Bytes>> written;
  std::uint64_t calls = 0, dedupes = 0;

  FileKey add(const Bytes& data) { return written.emplace_back(file(data), data).first; }
  static Bytes tailed(std::size_t tail) { return head(distinct_blocks(5, 8), 7 * kBlock + tail); }
  Mixed() {
    add(one);
    Bytes padded = tailed(100);
    padded.resize(8 * kBlock);
    add(padded);
  }
  std::vector<Batch> plan_all() {
    const std::uint64_t before = commit();
    add(joined(part(one, 0, 2), part(one, 6, 6)));
    add(joined(part(one, 0, 4), distinct_blocks(2, 4)));
    add(tailed(100));
    add(zero_blocks(8));
    return plan(before);
  }
  // Until leave_in_peace(): what the n-th call meets.
  void fail_at(std::uint64_t n, const FaultPlan& fault) {
    fs.set_on_call([this, n, fault](std::string_view call) {
      dedupes += call == "dedupe";
      FaultPlan now = ++calls == n ? fault : FaultPlan{};
      if (dedupes == 1) now.false_differs = 1;
      fs.set_faults(now);
    });
  }
  void leave_in_peace() {
    fs.set_on_call(nullptr);
    fs.set_faults({});
  }
  void apply_and_settle(std::vector<Batch>& batches) {
    for (Batch& batch : batches) {
      const auto status = apply(batch);
      CHECK((status.ok() || absl::IsResourceExhausted(status)));
    }
    leave_in_peace();
    auto settle = settle_stage();
    for (Batch& batch : batches) REQUIRE(settle.run(batch).ok());
    REQUIRE(settle.verify().ok());
  }
  void check_contents() {
    for (const auto& [key, data] : written) CHECK((fs.read_all(key) == data));
  }
};

TEST_CASE("plans of all kinds are carried out where nothing fails") {
  Mixed mixed;
  auto batches = mixed.plan_all();
  REQUIRE(plans_of(batches).size() == 4);
  mixed.fail_at(0, {});
  mixed.apply_and_settle(batches);
  mixed.check_contents();
  CHECK(mixed.left_as(Verdict::kFreed) == 4);
  CHECK(mixed.counters.bytes_copied == (2 + 4 + 1) * kBlock);
}

TEST_CASE("whichever call fails while plans are carried out, contents stay") {
  FaultPlan fault;
  SECTION("for an error of the device") { fault.io_error = 1; }
  SECTION("for want of space") { fault.no_space = 1; }
  SECTION("because files are gone") { fault.not_found = 1; }
  std::uint64_t n = 1;
  for (bool struck = true; struck; ++n) {
    INFO("call " << n);
    Mixed mixed;
    auto batches = mixed.plan_all();
    mixed.fail_at(n, fault);
    mixed.apply_and_settle(batches);
    struck = mixed.calls >= n;
    mixed.check_contents();
  }
  CHECK(n > 30);
}

}  // namespace
}  // namespace skep::dedupe
