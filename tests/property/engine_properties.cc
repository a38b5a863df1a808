// SPDX-License-Identifier: MIT
// usage: skep_engine_properties SCENARIO...
//
// What holds after any run of the engine over a random filesystem: every file reads as before, or
// as its user wrote it meanwhile; no invariant of the filesystem is broken; the run ends; the
// accounting adds up. Scenarios:
//   quiet       nothing else happens: accounts are exact, a second run finds nothing to do
//   collisions  the same, where some blocks differ although their checksums are equal
//   faults      the kernel fails in all the ways that the twin knows; then a run completes
//   changes     users change files while it runs, with and without faults
//   stops       the run is stopped again and again, and resumed, with its table or a new one
//   estimate    what a run frees is known before, without reading data or changing anything
//
// SKEP_SEED=N runs one case, that of seed N; SKEP_BUDGET_SECONDS says how long each scenario makes
// up new ones (3), from seed SKEP_FIRST_SEED (1) on, until SKEP_FAILURES (1) have failed. The seed
// of a case that fails is printed. With SKEP_VERBOSE the engine tells what it decides.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "engine_run.h"
#include "random_filesystem.h"
#include "skep/dedupe/estimate.h"
#include "skep/dedupe/limits.h"

namespace skep::property {
namespace {

using Clock = std::chrono::steady_clock;
using dedupe::Counters;
using dedupe::Verdict;

// A case takes some 30 ms, under sanitizers a second.
constexpr auto kHangs = std::chrono::seconds(120);

// Ends the program, with the seed, when a case takes too long.
class Watchdog {
 public:
  explicit Watchdog(std::string what) : thread_([this, what = std::move(what)] { watch(what); }) {}
  ~Watchdog() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  void watch(const std::string& what) {
    std::unique_lock lock(mutex_);
    if (wake_.wait_for(lock, kHangs, [this] { return done_; })) return;
    std::fprintf(stderr, "%s: does not end\n", what.c_str());
    std::_Exit(3);
  }
  std::mutex mutex_;
  std::condition_variable wake_;
  bool done_ = false;
  std::thread thread_;
};

struct Case {
  Case(std::uint64_t seed, bool collisions) : random(seed), files(random(), collisions) {
    constexpr std::array<std::uint64_t, 4> kTables = {8 << 10, 16 << 10, 128 << 10, 1 << 20};
    constexpr std::array<double, 4> kRatios = {0, 0.3, 1, 3};
    table_bytes = kTables[random.below(kTables.size())];
    options.threads = static_cast<std::uint32_t>(1 + random.below(3));
    options.min_run_bytes = kBlock << (random.percent(60) ? 0 : random.below(5));
    options.max_copy_ratio = random.percent(50) ? 1 : kRatios[random.below(kRatios.size())];
    options.depth = random.percent(85) ? dedupe::Depth::kDeep : dedupe::Depth::kQuick;
    options.nodatasum = options.depth == dedupe::Depth::kDeep && random.percent(40);
    if (options.depth == dedupe::Depth::kDeep && random.percent(15)) {
      kind = index::FingerprintKind::kData;
    }
    files.build(static_cast<int>(5 + random.below(60)));
  }
  bool expect(bool holds, std::string_view what) {
    if (holds) return true;
    complaints += fmt::format("  {}\n", what);
    return false;
  }
  template <typename A, typename B>
  bool equal(A a, B b, std::string_view what) {
    return expect(static_cast<std::int64_t>(a) == static_cast<std::int64_t>(b),
                  fmt::format("{}: {} != {}", what, a, b));
  }
  void verify(std::string_view when) {
    const auto status = files.verify();
    expect(status.ok(), fmt::format("{}: {}", when, status.ToString()));
  }

  Random random;
  RandomFilesystem files;
  TemporaryFolder folder;
  std::uint64_t table_bytes = 0;
  index::FingerprintKind kind = index::FingerprintKind::kCsum;
  dedupe::Options options;
  std::string complaints;
};

// Plans that failed may have made copies which nobody came to use; nothing else is let off.
bool any_plan_failed(const Counters& counters) {
  for (const Verdict verdict :
       {Verdict::kDiffers, Verdict::kChanged, Verdict::kFailed, Verdict::kBusy}) {
    if (extents_with(counters, verdict) != 0) return true;
  }
  return false;
}

// Data extents by address and generation, and what they take, as the last commit left them.
struct Stock {
  explicit Stock(btrfs::MemoryFilesystem& fs) {
    // The space of dropped temporary files comes back with the next commit.
    (void)fs.sync();
    used = fs.data_used();
    auto page = fs.extents(0, ~0ULL, 1 << 30);
    if (!page.ok()) return;
    for (const auto& e : page->extents) lengths[{e.address, e.generation}] = e.length;
  }
  // Extents of this one that `other` does not have.
  std::string less(const Stock& other) const {
    std::string out;
    for (const auto& [extent, length] : lengths) {
      if (!other.lengths.contains(extent)) out += fmt::format(" {:#x}+{}", extent.first, length);
    }
    return out;
  }
  std::uint64_t used = 0;
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> lengths;
};

void check_accounts(Case& c, const Counters& counters, const Stock& before) {
  const Stock after(c.files.fs());
  const auto freed = static_cast<std::int64_t>(before.used - after.used);
  const auto gone = static_cast<std::int64_t>(counters.bytes_gone.load());
  const auto copied = static_cast<std::int64_t>(counters.bytes_copied.load());
  if (any_plan_failed(counters)) {
    c.expect(freed >= gone - copied,
             fmt::format("freed {}, less than {} gone and {} copied", freed, gone, copied));
    c.expect(freed <= gone, fmt::format("freed {}, more than {} gone", freed, gone));
  } else {
    c.equal(freed, gone - copied, "freed; gone less copied");
  }
  c.equal(counters.not_gone.load(), 0, "extents whose references were replaced, but not gone");
  c.equal(extents_with(counters, Verdict::kFailed), 0, "failed");
  c.equal(extents_with(counters, Verdict::kBusy), 0, "busy");
  if (c.complaints.empty()) return;
  c.complaints += fmt::format("  {}\n  gone:{}\n  new:{}\n", to_string(counters),
                              before.less(after), after.less(before));
}

// What was left to be tried again may go with the next run, and lets the rest be.
void settle_retries(Case& c, TableOfKind& table, Progress& progress) {
  btrfs::MemoryFilesystem& fs = c.files.fs();
  for (std::uint32_t i = 0; !progress.retries.empty(); ++i) {
    Counters counters;
    const std::atomic<bool> stop = false;
    const Stock before(fs);
    const RunEnd end = run_engine(fs, table, counters, c.options, progress, stop);
    c.expect(end.status.ok() && end.complete, end.status.ToString());
    c.verify("retries");
    check_accounts(c, counters, before);
    if (i < dedupe::limits::kRetryTries) continue;
    c.expect(false, "retried for ever");
    return;
  }
}

void check_second_run(Case& c, TableOfKind& table, Progress progress, std::string_view what) {
  settle_retries(c, table, progress);
  btrfs::MemoryFilesystem& fs = c.files.fs();
  Counters counters;
  const std::atomic<bool> stop = false;
  const std::uint64_t used = fs.data_used();
  const RunEnd end = run_engine(fs, table, counters, c.options, progress, stop);
  c.expect(end.status.ok() && end.complete, fmt::format("{}: {}", what, end.status.ToString()));
  c.equal(fs.data_used(), used, fmt::format("{}: used", what));
  if (counters.bytes_gone != 0 || counters.bytes_copied != 0) {
    c.expect(false, fmt::format("{}: {}", what, to_string(counters)));
  }
  c.verify(what);
}

// A run that begins from nothing may find what paid too little before: references that went left
// dead space behind, leaves are no longer shared. But every one frees more than it copies, so that
// there is an end: after up to 8 runs in 5,000 cases, where nothing may be copied and runs of one
// block do not count.
void check_fixed_point(Case& c) {
  btrfs::MemoryFilesystem& fs = c.files.fs();
  const std::atomic<bool> stop = false;
  constexpr int kMostRuns = 16;
  for (int run = 0; run < kMostRuns; ++run) {
    Counters counters;
    Progress progress;
    const Stock before(fs);
    auto table = c.folder.new_table(fs, c.kind, c.table_bytes);
    const RunEnd end = run_engine(fs, table, counters, c.options, progress, stop);
    const std::string what = fmt::format("from nothing, run {}", run);
    c.expect(end.status.ok() && end.complete, fmt::format("{}: {}", what, end.status.ToString()));
    c.verify(what);
    const Stock after(fs);
    // A plan that differs in the end has copied for nothing, and leaves nothing behind.
    if (counters.bytes_gone == 0 && after.used == before.used) return;
    // What differed in the end may have left copies behind, but no more than it says.
    c.expect(after.used + counters.bytes_gone <= before.used + counters.bytes_copied,
             fmt::format("{}: {} used, {} before: {}", what, after.used, before.used,
                         to_string(counters)));
  }
  c.expect(false, fmt::format("after {} runs from nothing there is still work", kMostRuns));
}

void quiet(Case& c) {
  btrfs::MemoryFilesystem& fs = c.files.fs();
  Counters counters;
  Progress progress;
  const std::atomic<bool> stop = false;
  auto table = c.folder.new_table(fs, c.kind, c.table_bytes);
  const Stock before(fs);
  const RunEnd end = run_engine(fs, table, counters, c.options, progress, stop);
  c.expect(end.status.ok() && end.complete, end.status.ToString());
  c.verify("after the run");
  check_accounts(c, counters, before);
  c.equal(verdict_extents(counters), counters.extents_scanned.load(), "verdicts; scanned");
  c.equal(verdict_bytes(counters), counters.bytes_scanned.load(), "bytes of verdicts; scanned");
  check_second_run(c, table, progress, "again");
  check_fixed_point(c);
}

btrfs::FaultPlan random_faults(Random& random) {
  constexpr std::array<double, 5> kRates = {0.0005, 0.002, 0.01, 0.05, 0.3};
  btrfs::FaultPlan plan;
  plan.seed = random();
  for (double* rate :
       {&plan.io_error, &plan.not_found, &plan.no_space, &plan.try_again, &plan.invalid,
        &plan.false_differs, &plan.short_answer, &plan.empty_answer}) {
    if (random.percent(35)) *rate = kRates[random.below(kRates.size())];
  }
  // An error of the tree search or of the commit ends the run, so a low rate meets more.
  plan.io_error /= 20;
  plan.try_again /= 10;  // each waits
  return plan;
}

void must_complete_now(Case& c, std::string_view when) {
  btrfs::MemoryFilesystem& fs = c.files.fs();
  Counters counters;
  Progress progress;
  const std::atomic<bool> stop = false;
  auto table = c.folder.new_table(fs, c.kind, c.table_bytes);
  c.expect(fs.sync().ok(), "sync");
  const Stock before(fs);
  const RunEnd end = run_engine(fs, table, counters, c.options, progress, stop);
  c.expect(end.status.ok() && end.complete, fmt::format("{}: {}", when, end.status.ToString()));
  c.verify(when);
  check_accounts(c, counters, before);
}

void faults(Case& c) {
  btrfs::MemoryFilesystem& fs = c.files.fs();
  Progress progress;
  const std::atomic<bool> stop = false;
  auto table = c.folder.new_table(fs, c.kind, c.table_bytes);
  const btrfs::FaultPlan plan = random_faults(c.random);
  fs.set_faults(plan);
  for (int run = 0; run < 3; ++run) {
    Counters counters;
    const RunEnd end = run_engine(fs, table, counters, c.options, progress, stop);
    c.verify(fmt::format("run {} with {}", run, btrfs::to_string(plan)));
    if (end.complete) {
      c.equal(verdict_extents(counters), counters.extents_scanned.load(), "verdicts; scanned");
    }
  }
  fs.set_faults({});
  must_complete_now(c, "without faults");
}

void changes(Case& c) {
  btrfs::MemoryFilesystem& fs = c.files.fs();
  Progress progress;
  const std::atomic<bool> stop = false;
  auto table = c.folder.new_table(fs, c.kind, c.table_bytes);
  std::mutex mutex;  // of c.files and c.random
  int changes_left = static_cast<int>(1 + c.random.below(60));
  const std::uint64_t one_in = 1 + c.random.below(40);
  if (c.random.percent(30)) fs.set_faults(random_faults(c.random));
  fs.set_on_call([&](std::string_view) {
    const std::lock_guard lock(mutex);
    if (changes_left == 0 || c.random.below(one_in) != 0) return;
    --changes_left;
    c.files.step();
    if (c.random.percent(20)) (void)fs.sync();
  });
  for (int run = 0; run < 2; ++run) {
    Counters counters;
    const RunEnd end = run_engine(fs, table, counters, c.options, progress, stop);
    const std::lock_guard lock(mutex);
    c.verify(fmt::format("run {} with changes", run));
    if (end.complete) {
      c.equal(verdict_extents(counters), counters.extents_scanned.load(), "verdicts; scanned");
    }
  }
  fs.set_on_call({});
  fs.set_faults({});
  must_complete_now(c, "without changes");
}

void stops(Case& c) {
  btrfs::MemoryFilesystem& fs = c.files.fs();
  Progress progress;
  std::atomic<bool> stop = false;
  std::atomic<std::int64_t> calls_left = 0;
  auto table = c.folder.new_table(fs, c.kind, c.table_bytes);
  fs.set_on_call([&](std::string_view) {
    if (--calls_left <= 0) stop = true;
  });
  bool complete = false;
  for (int run = 0; run < 100 && !complete; ++run) {
    Counters counters;
    const Stock before(fs);
    stop = false;
    calls_left = static_cast<std::int64_t>(run < 20 ? 1 + c.random.below(300) : 1'000'000);
    const RunEnd end = run_engine(fs, table, counters, c.options, progress, stop);
    c.expect(end.status.ok() || absl::IsCancelled(end.status), end.status.ToString());
    c.verify(fmt::format("after stop {}", run));
    if (!c.complaints.empty()) return;
    c.expect(fs.sync().ok(), "sync");
    check_accounts(c, counters, before);
    if (!c.complaints.empty()) return;
    complete = end.complete;
    if (c.random.percent(30)) table = c.folder.new_table(fs, c.kind, c.table_bytes);
  }
  fs.set_on_call({});
  c.expect(complete, "never completed");
}

// Calls that read data, or change something.
std::uint64_t calls_of_work(const btrfs::MemoryFilesystem& fs) {
  std::uint64_t out = 0;
  for (const char* call : {"open", "create_temporary", "dedupe", "sync", "read", "write"}) {
    out += fs.calls(call);
  }
  return out;
}

dedupe::GainTotals estimate_of(Case& c, index::Table& table) {
  btrfs::MemoryFilesystem& fs = c.files.fs();
  const std::atomic<bool> stop = false;
  const index::Fingerprinter fingerprinter(fs.info());
  const dedupe::EstimateParts parts{fs, fingerprinter, c.options, stop};
  index::Table* const tables[] = {&table};
  Counters counters;
  auto survey = dedupe::survey(parts, tables, counters);
  if (!c.expect(survey.ok(), survey.status().ToString())) return {};
  auto gains = dedupe::imagine(parts, *survey, table, dedupe::Sample(), true, counters);
  if (!c.expect(gains.ok(), gains.status().ToString())) return {};
  return *gains;
}

// Of all cases of the scenario: single ones are small, and one extent that goes or stays is much.
struct Estimates {
  std::uint64_t cases = 0, exact = 0, estimated_bytes = 0, freed_bytes = 0;
} estimates;

// What is estimated is what a run then frees: mostly to the byte, and all in all. A run looks once
// more at keepers, with the references that they got meanwhile, which nobody knows beforehand.
bool estimates_hold() {
  const auto& e = estimates;
  std::printf("estimate: %lu of %lu exact, %lu bytes estimated, %lu freed\n",
              static_cast<unsigned long>(e.exact), static_cast<unsigned long>(e.cases),
              static_cast<unsigned long>(e.estimated_bytes),
              static_cast<unsigned long>(e.freed_bytes));
  constexpr std::uint64_t kEnoughCases = 50;
  if (e.cases < kEnoughCases) return true;
  const std::uint64_t differs =
      std::max(e.estimated_bytes, e.freed_bytes) - std::min(e.estimated_bytes, e.freed_bytes);
  return e.exact * 10 >= e.cases * 7 && differs * 50 <= e.freed_bytes;
}

void estimate(Case& c) {
  btrfs::MemoryFilesystem& fs = c.files.fs();
  c.options.depth = dedupe::Depth::kQuick;
  c.options.nodatasum = false;
  const Stock before(fs);
  const std::uint64_t work_before = calls_of_work(fs);
  auto imagined = c.folder.new_table(fs, index::FingerprintKind::kCsum, c.table_bytes);
  const dedupe::GainTotals gains = estimate_of(c, *imagined.table);
  c.equal(calls_of_work(fs), work_before, "calls that read data or change something");
  Counters counters;
  Progress progress;
  const std::atomic<bool> stop = false;
  auto table = c.folder.new_table(fs, index::FingerprintKind::kCsum, c.table_bytes);
  const RunEnd end = run_engine(fs, table, counters, c.options, progress, stop);
  c.expect(end.status.ok() && end.complete, end.status.ToString());
  const std::uint64_t freed = before.used - Stock(fs).used;
  ++estimates.cases;
  estimates.exact += gains.freed_bytes == freed ? 1 : 0;
  estimates.estimated_bytes += gains.freed_bytes;
  estimates.freed_bytes += freed;
  const std::uint64_t differs =
      std::max(gains.freed_bytes, freed) - std::min(gains.freed_bytes, freed);
  c.expect(differs * 3 <= before.used,
           fmt::format("{} estimated, {} freed", gains.freed_bytes, freed));
}

struct Scenario {
  std::string_view name;
  void (*run)(Case&);
  bool collisions = false;
  bool (*all_hold)() = nullptr;  // once all cases are through
};
constexpr std::array<Scenario, 6> kScenarios = {{{"quiet", quiet},
                                                 {"collisions", quiet, true},
                                                 {"faults", faults, true},
                                                 {"changes", changes, true},
                                                 {"stops", stops},
                                                 {"estimate", estimate, false, estimates_hold}}};

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

// True when the case holds.
bool run_case(const Scenario& scenario, std::uint64_t seed) {
  const std::string name = fmt::format("SKEP_SEED={} {}", seed, scenario.name);
  const Watchdog watchdog(name);
  Case c(seed, scenario.collisions);
  scenario.run(c);
  if (c.complaints.empty()) return true;
  std::fprintf(
      stderr,
      "%s (threads %u, depth %d, nodatasum %d, kind %u, min run %lu, ratio %g, table %lu):\n%s",
      name.c_str(), c.options.threads, static_cast<int>(c.options.depth), c.options.nodatasum,
      static_cast<unsigned>(c.kind), static_cast<unsigned long>(c.options.min_run_bytes),
      c.options.max_copy_ratio, static_cast<unsigned long>(c.table_bytes), c.complaints.c_str());
  return false;
}

bool run_scenario(const Scenario& scenario) {
  if (std::getenv("SKEP_SEED") != nullptr) return run_case(scenario, number_from("SKEP_SEED", 0));
  const auto end = Clock::now() + std::chrono::seconds(number_from("SKEP_BUDGET_SECONDS", 3));
  const std::uint64_t first = number_from("SKEP_FIRST_SEED", 1);
  const std::uint64_t most_failures = number_from("SKEP_FAILURES", 1);
  std::uint64_t cases = 0, failures = 0;
  for (; Clock::now() < end && failures < most_failures; ++cases) {
    if (!run_case(scenario, first + cases)) ++failures;
  }
  std::printf("%s: %lu cases, %lu failed\n", std::string(scenario.name).c_str(),
              static_cast<unsigned long>(cases), static_cast<unsigned long>(failures));
  return failures == 0 && (scenario.all_hold == nullptr || scenario.all_hold());
}

}  // namespace
}  // namespace skep::property

int main(int argc, char** argv) {
  if (std::getenv("SKEP_VERBOSE") != nullptr) spdlog::set_level(spdlog::level::debug);
  bool good = argc > 1;
  for (int i = 1; i < argc; ++i) {
    bool known = false;
    for (const auto& scenario : skep::property::kScenarios) {
      if (scenario.name != argv[i]) continue;
      known = true;
      good = skep::property::run_scenario(scenario) && good;
    }
    if (!known) std::fprintf(stderr, "no scenario '%s'\n", argv[i]);
    good = good && known;
  }
  return good ? 0 : 1;
}
