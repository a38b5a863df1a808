// SPDX-License-Identifier: MIT
#include "skep/dedupe/engine.h"

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <tbb/flow_graph.h>
#include <tbb/global_control.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <utility>

#include "skep/dedupe/apply_stage.h"
#include "skep/dedupe/content_marks.h"
#include "skep/dedupe/file_filter.h"
#include "skep/dedupe/fingerprint_stage.h"
#include "skep/dedupe/keeper_catalog.h"
#include "skep/dedupe/limits.h"
#include "skep/dedupe/match_stage.h"
#include "skep/dedupe/metadata_price.h"
#include "skep/dedupe/phase_gate.h"
#include "skep/dedupe/plan_stage.h"
#include "skep/dedupe/prefetch_stage.h"
#include "skep/dedupe/resolver.h"
#include "skep/dedupe/roles.h"
#include "skep/dedupe/scan.h"
#include "skep/dedupe/settle_stage.h"
#include "skep/dedupe/strangers.h"
#include "skep/index/content_cache.h"

namespace skep::dedupe {
namespace {

// 1 MiB has 256 blocks, of which the table knows 256 / 2^level: at level 6 (64 MiB of table for
// 1 TiB) four.
constexpr std::uint64_t kMarkReach = 1ULL << 20;

// The first error of any stage; ends the pass.
class FirstError {
 public:
  explicit FirstError(const std::function<bool()>& stop_asked) : stop_asked_(stop_asked) {}
  // True when the pass shall go on.
  bool ok() const { return !failed_ && !stop_asked_(); }
  void note(absl::Status status) {
    if (status.ok()) return;
    absl::MutexLock lock(&mutex_);
    if (status_.ok()) status_ = std::move(status);
    failed_ = true;
  }
  absl::Status status() const {
    absl::MutexLock lock(&mutex_);
    return status_;
  }

 private:
  const std::function<bool()>& stop_asked_;
  std::atomic<bool> failed_ = false;
  mutable absl::Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

struct Engine::Shared {
  Shared(btrfs::Filesystem& f, const index::Fingerprinter& fp, index::Table& t, Counters& c,
         const Options& o, Pace* p, Applier* a, std::function<bool()> soon)
      : fs(f),
        fingerprinter(fp),
        table(t),
        counters(c),
        options(o),
        pace(p),
        applier(a),
        stores_soon(std::move(soon)),
        contents(fp, f.info().block_size),
        filter(f, o.filter),
        read_resolver(f, gate, c, filter_of_files()),
        load_resolver(f, gate, c, filter_of_files()),
        fingerprint({f, fp, contents, read_resolver, c, o}),
        loader({f, fp, contents, load_resolver, c, o}),
        resolver(f, gate, c, filter_of_files()),
        catalog(f, resolver),
        price(f),
        strangers(fp, f.info().block_size, c) {}

  btrfs::Filesystem& fs;
  const index::Fingerprinter& fingerprinter;
  index::Table& table;
  Counters& counters;
  const Options options;
  Pace* const pace;
  Applier* const applier;
  const std::function<bool()> stores_soon;
  PhaseGate gate;
  Roles roles;
  index::ContentCache contents;
  ContentMarks marks;
  Unjudged unjudged;
  FileFilter filter;
  // Null where files are not told apart: then nothing is asked or looked up.
  FileFilter* filter_of_files() { return options.filter.any_of_files() ? &filter : nullptr; }
  // One for each stage that uses it; that of the loader serves the match stage too.
  Resolver read_resolver, load_resolver;
  FingerprintStage fingerprint, loader;
  Resolver resolver;
  KeeperCatalog catalog;
  MetadataPrice price;
  Strangers strangers;
  std::vector<std::uint64_t> retries;

  // Where the table is sampled, not every block of what is stored twice meets its like.
  std::uint64_t mark_reach() const { return table.usage().level == 0 ? 0 : kMarkReach; }
};

Engine::Engine(btrfs::Filesystem& fs, const index::Fingerprinter& fingerprinter,
               index::Table& table, Counters& counters, const Options& options, Pace* pace,
               Applier* applier, std::function<bool()> stores_soon)
    : shared_(std::make_unique<Shared>(fs, fingerprinter, table, counters, options, pace, applier,
                                       std::move(stores_soon))) {}

Engine::~Engine() = default;

// One walk through the stages, from a source of batches.
struct Engine::Flow {
  Flow(Shared& shared, PassKind kind, Window window, Cursor start,
       const std::function<bool()>& stop);
  void run(BatchSource& source, const std::function<void(Cursor)>& settled);
  // What a stage may still do with a batch once the pass is to end: nothing, but hand it on.
  bool go_on() {
    if (!error.ok()) halt = true;
    return !halt;
  }

  Shared& s;
  const PassKind kind;
  FirstError error;
  std::atomic<bool> halt = false;  // stop, or an error: for the stages that finish what they hold
  const Steps steps;
  MatchStage match;
  PlanStage plan;
  const PrefetchStage prefetch;
  ApplyStage apply;
  SettleStage settle;
};

Engine::Flow::Flow(Shared& shared, PassKind pass, Window window, Cursor start,
                   const std::function<bool()>& stop)
    : s(shared),
      kind(pass),
      error(stop),
      steps(shared.pace, [this] { return !go_on(); }),
      match({s.fs, s.fingerprinter, s.table, s.contents, s.loader, s.load_resolver, s.roles,
             s.strangers, s.counters, s.options, steps},
            kind, window),
      plan({s.fs, s.fingerprinter, s.table, s.contents, s.resolver, s.catalog, s.price, s.roles,
            s.strangers, s.counters, s.options, [this] { match.expect_changes(); }, steps}),
      prefetch(s.fs, s.counters, steps),
      apply(s.fs, s.gate, s.strangers, s.counters, halt, steps),
      settle({s.fs, s.table, s.catalog, s.price, s.roles, s.counters,
              [this] { match.expect_changes(); }, shared.stores_soon},
             start) {
  s.filter.forget();
}

void Engine::Flow::run(BatchSource& source, const std::function<void(Cursor)>& settled) {
  namespace flow = tbb::flow;
  const std::uint64_t reach = s.mark_reach();
  flow::graph graph;
  // 1. Extents, in batches.
  flow::input_node<BatchPtr> source_node(graph, [&](tbb::flow_control& control) -> BatchPtr {
    if (s.pace != nullptr) s.pace->before_batch([&] { return !go_on(); });
    if (go_on()) {
      auto batch = source.next();
      error.note(batch.status());
      if (batch.ok() && *batch != nullptr) return *batch;
    }
    if (s.pace != nullptr) s.pace->batch_done();
    control.stop();
    return nullptr;
  });
  // 2. Bounds memory, and how far readahead runs ahead.
  flow::limiter_node<BatchPtr> limiter(graph, limits::kBatchesInFlight);
  // 3. Their blocks' fingerprints, from the csum tree.
  flow::function_node<BatchPtr, BatchPtr> fingerprint_node(graph, flow::serial, [&](BatchPtr b) {
    if (go_on()) error.note(s.fingerprint.run(*b, kind, s.marks, reach, s.unjudged, steps));
    b->dropped = !go_on();
    return b;
  });
  // 4. What is stored elsewhere; who stays and who goes.
  flow::function_node<BatchPtr, BatchPtr> match_node(graph, flow::serial, [&](BatchPtr b) {
    if (!b->dropped) match.run(*b);
    return b;
  });
  // 5. All references of those that go; what is copied; whether it pays.
  flow::function_node<BatchPtr, BatchPtr> plan_node(graph, flow::serial, [&](BatchPtr b) {
    if (b->dropped) return b;
    auto status = plan.run(*b);
    b->dropped = !status.ok();
    error.note(std::move(status));
    return b;
  });
  // 6. Reading ahead.
  flow::function_node<BatchPtr, BatchPtr> prefetch_node(graph, flow::serial, [&](BatchPtr b) {
    if (s.applier == nullptr && go_on()) prefetch.run(*b);
    return b;
  });
  // 7. Copies and shares. From here on the data lies elsewhere.
  flow::function_node<BatchPtr, BatchPtr> apply_node(graph, s.options.threads, [&](BatchPtr b) {
    go_on();
    error.note(s.applier != nullptr ? s.applier->run(*b) : apply.run(*b));
    return b;
  });
  // 8. Table, totals, cursor; freed space is verified.
  flow::function_node<BatchPtr, flow::continue_msg> settle_node(graph, flow::serial,
                                                                [&](const BatchPtr& b) {
                                                                  error.note(settle.run(*b));
                                                                  settled(settle.cursor());
                                                                  s.fs.let_go_of_old_files();
                                                                  if (s.pace) s.pace->batch_done();
                                                                  return flow::continue_msg();
                                                                });
  flow::make_edge(source_node, limiter);
  flow::make_edge(limiter, fingerprint_node);
  flow::make_edge(fingerprint_node, match_node);
  flow::make_edge(match_node, plan_node);
  flow::make_edge(plan_node, prefetch_node);
  flow::make_edge(prefetch_node, apply_node);
  flow::make_edge(apply_node, settle_node);
  flow::make_edge(settle_node, limiter.decrementer());
  source_node.activate();
  graph.wait_for_all();
  error.note(settle.verify());
  s.roles.forget_keepers();
}

// Extents that were keepers when the crawl met them, or could not be shared: each round may free
// some, whose keepers are then for the next. What is left after the last round stays.
void Engine::revisit(PassKind kind, Window window, const std::function<bool()>& stop,
                     PassResult& result) {
  Shared& s = *shared_;
  result.reached = {kTierMinBytes.size(), 0};
  std::vector<Roles::Deferred> deferred = s.roles.take_deferred();
  for (int i = 0; i < limits::kRevisits && result.complete && !deferred.empty(); ++i) {
    const std::uint64_t gone = s.counters.bytes_gone;
    Flow flow(s, kind, window, result.reached, stop);
    Revisit source(s.fs, deferred);
    flow.run(source, [](Cursor) {});
    result.status = flow.error.status();
    result.complete = flow.go_on();
    if (!result.complete) {
      // Which of them were looked at is not known; twice does no harm.
      for (const auto& extent : deferred) {
        s.roles.defer(extent.address, extent.length, extent.why);
      }
      return;
    }
    deferred = s.roles.take_deferred();
    if (s.counters.bytes_gone == gone) break;
  }
  for (const auto& extent : deferred) {
    const bool retry = extent.why != Verdict::kKeeper;
    if (retry && s.retries.size() < limits::kRetries) s.retries.push_back(extent.address);
    if (kind == PassKind::kDeepPlain) continue;  // the quick pass has told of them
    ++s.counters.extents_scanned;
    s.counters.bytes_scanned += extent.length;
    s.counters.leave(extent.why, extent.length);
  }
}

void Engine::look(PassKind kind, const std::vector<std::uint64_t>& addresses, Window window,
                  const std::function<bool()>& stop, PassResult& result) {
  for (const std::uint64_t address : addresses) shared_->roles.defer(address, 0);
  if (result.complete) in_arena([&] { revisit(kind, window, stop, result); });
}

PassResult Engine::look_at(const std::vector<std::uint64_t>& addresses, Window window,
                           const std::function<bool()>& stop) {
  PassResult result;
  result.complete = true;
  look(PassKind::kQuick, addresses, window, stop, result);
  return result;
}

PassResult Engine::look_again(const std::vector<std::uint64_t>& addresses, Window window,
                              const std::function<bool()>& stop) {
  Shared& s = *shared_;
  PassResult result;
  result.complete = true;
  // What the quick pass is to checksums, the deep ones are to fingerprints of the data.
  s.marks.mark_all();
  const bool by_csums = s.fingerprinter.kind() == index::FingerprintKind::kCsum;
  look(by_csums ? PassKind::kQuick : PassKind::kDeepPlain, addresses, window, stop, result);
  if (s.options.depth == Depth::kDeep) {
    look(PassKind::kDeepRead, addresses, window, stop, result);
  }
  s.marks.clear();
  return result;
}

void Engine::retry_deferred() {
  for (const auto& extent : shared_->roles.take_deferred()) {
    if (shared_->retries.size() == limits::kRetries) break;
    shared_->retries.push_back(extent.address);
  }
}

std::vector<std::uint64_t> Engine::take_retries() { return std::exchange(shared_->retries, {}); }

absl::Status Engine::read_contents(Window window, std::uint64_t start,
                                   const std::function<bool()>& stop,
                                   const std::function<void(std::uint64_t)>& reached) {
  Shared& s = *shared_;
  ContentScan scan{s.fs,    s.fingerprint, s.fingerprinter, s.table, s.contents,
                   s.marks, &s.unjudged,   s.counters,      s.pace,  s.options.filter.extent_bytes};
  return scan.run(window, start, stop, reached);
}

absl::Status Engine::refill_contents(Window window, const std::function<bool()>& stop) {
  Shared& s = *shared_;
  ContentMarks marks;
  ContentScan scan{s.fs,  s.fingerprint, s.fingerprinter, s.table, s.contents,
                   marks, nullptr,       s.counters,      s.pace,  s.options.filter.extent_bytes};
  return scan.run(window, 0, stop, [](std::uint64_t) {});
}

void Engine::conclude_contents() {
  Shared& s = *shared_;
  s.counters.extents_scanned += s.unjudged.extents;
  s.counters.bytes_scanned += s.unjudged.bytes;
  s.counters.leave(Verdict::kUnique, s.unjudged.bytes, s.unjudged.extents);
  s.unjudged = {};
  s.marks.clear();
}

bool Engine::anything_to_deepen() const { return shared_->marks.any(); }
void Engine::deepen_everything() { shared_->marks.mark_all(); }

// Sharing waits in the kernel: as many workers as may share, and one for all the rest.
void Engine::in_arena(const std::function<void()>& work) {
  const std::size_t workers = shared_->options.threads + 1;
  const tbb::global_control control(tbb::global_control::max_allowed_parallelism, workers + 1);
  tbb::task_arena arena(static_cast<int>(workers));
  arena.execute(work);
}

PassResult Engine::run_pass(PassKind kind, Window window, Cursor start, const Census& census,
                            const std::function<bool()>& stop,
                            std::function<void(Cursor)> settled) {
  Shared& s = *shared_;
  PassResult result;
  in_arena([&] {
    {
      Flow flow(s, kind, window, start, stop);
      // What was read may equal what is older than the window: the marks say where. Where
      // everything was read, or marks are not all known, the window alone is walked over.
      const bool marked = kind == PassKind::kDeepPlain && s.marks.complete() &&
                          s.fingerprinter.kind() == index::FingerprintKind::kCsum;
      if (marked) {
        Marked extents(s.fs, window, s.marks, s.mark_reach(), s.options.filter.extent_bytes);
        flow.run(extents, [](Cursor) {});
        result.reached = start;
      } else {
        Crawl crawl(s.fs, window, start, census, s.options.filter.extent_bytes);
        flow.run(crawl, settled);
        result.reached = flow.settle.cursor();
      }
      result.status = flow.error.status();
      result.complete = flow.go_on();
    }
    if (result.complete) revisit(kind, window, stop, result);
  });
  return result;
}

}  // namespace skep::dedupe
