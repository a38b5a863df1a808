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
#include "skep/index/content_cache.h"

namespace skep::dedupe {
namespace {

// 1 MiB has 256 blocks, of which the table knows 256 / 2^level: at level 6 (64 MiB of table for
// 1 TiB) four.
constexpr std::uint64_t kMarkReach = 1ULL << 20;

std::uint32_t metadata_copies(btrfs::Filesystem& fs) {
  auto space = fs.space();
  return space.ok() ? space->metadata.copies : 1;
}

// The first error of any stage; ends the pass.
class FirstError {
 public:
  explicit FirstError(const std::atomic<bool>& stop_asked) : stop_asked_(stop_asked) {}
  // True when the pass shall go on.
  bool ok() const { return !failed_ && !stop_asked_; }
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
  const std::atomic<bool>& stop_asked_;
  std::atomic<bool> failed_ = false;
  mutable absl::Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

struct Engine::Shared {
  Shared(btrfs::Filesystem& f, const index::Fingerprinter& fp, index::Table& t, Counters& c,
         const Options& o, Pace* p)
      : fs(f),
        fingerprinter(fp),
        table(t),
        counters(c),
        options(o),
        pace(p),
        contents(fp, f.info().block_size),
        read_resolver(f, gate, c),
        load_resolver(f, gate, c),
        fingerprint({f, fp, contents, read_resolver, c, o}),
        loader({f, fp, contents, load_resolver, c, o}),
        resolver(f, gate, c),
        catalog(f, resolver),
        price(f.info().node_size, metadata_copies(f)) {}

  btrfs::Filesystem& fs;
  const index::Fingerprinter& fingerprinter;
  index::Table& table;
  Counters& counters;
  const Options options;
  Pace* const pace;
  PhaseGate gate;
  Roles roles;
  index::ContentCache contents;
  ContentMarks marks;
  Unjudged unjudged;
  // One for each stage that uses it.
  Resolver read_resolver, load_resolver;
  FingerprintStage fingerprint, loader;
  Resolver resolver;
  KeeperCatalog catalog;
  MetadataPrice price;

  // Where the table is sampled, not every block of what is stored twice meets its like.
  std::uint64_t mark_reach() const { return table.usage().level == 0 ? 0 : kMarkReach; }
};

Engine::Engine(btrfs::Filesystem& fs, const index::Fingerprinter& fingerprinter,
               index::Table& table, Counters& counters, const Options& options, Pace* pace)
    : shared_(std::make_unique<Shared>(fs, fingerprinter, table, counters, options, pace)) {}

Engine::~Engine() = default;

// One walk through the stages, from a source of batches.
struct Engine::Flow {
  Flow(Shared& shared, PassKind kind, Window window, Cursor start, const std::atomic<bool>& stop);
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
  MatchStage match;
  PlanStage plan;
  const PrefetchStage prefetch;
  ApplyStage apply;
  SettleStage settle;
};

Engine::Flow::Flow(Shared& shared, PassKind pass, Window window, Cursor start,
                   const std::atomic<bool>& stop)
    : s(shared),
      kind(pass),
      error(stop),
      match({s.fs, s.fingerprinter, s.table, s.contents, s.loader, s.roles, s.counters, s.options},
            kind, window),
      plan({s.fs, s.fingerprinter, s.table, s.contents, s.resolver, s.catalog, s.price, s.roles,
            s.counters, s.options, [this] { match.expect_changes(); }}),
      prefetch(s.fs, s.counters),
      apply(s.fs, s.gate, s.counters, halt),
      settle({s.fs, s.table, s.catalog, s.price, s.roles, s.counters,
              [this] { match.expect_changes(); }},
             start) {}

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
    if (go_on()) error.note(s.fingerprint.run(*b, kind, s.marks, reach, s.unjudged));
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
    if (go_on()) prefetch.run(*b);
    return b;
  });
  // 7. Copies and shares. From here on the data lies elsewhere.
  flow::function_node<BatchPtr, BatchPtr> apply_node(graph, s.options.threads, [&](BatchPtr b) {
    go_on();
    error.note(apply.run(*b));
    return b;
  });
  // 8. Table, totals, cursor; freed space is verified.
  flow::function_node<BatchPtr, flow::continue_msg> settle_node(graph, flow::serial,
                                                                [&](const BatchPtr& b) {
                                                                  error.note(settle.run(*b));
                                                                  settled(settle.cursor());
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

// Extents that were keepers when the crawl met them: each round may free some, whose keepers are
// then for the next. What is left after the last round stays.
void Engine::revisit(PassKind kind, Window window, const std::atomic<bool>& stop,
                     PassResult& result) {
  Shared& s = *shared_;
  result.reached = {kTierMinBytes.size(), 0};
  std::vector<Roles::Deferred> deferred = s.roles.take_deferred();
  for (int i = 0; i < limits::kRevisits && result.complete && !deferred.empty(); ++i) {
    const std::uint64_t gone = s.counters.bytes_gone;
    Flow flow(s, kind, window, result.reached, stop);
    Revisit source(s.fs, std::move(deferred));
    flow.run(source, [](Cursor) {});
    result.status = flow.error.status();
    result.complete = flow.go_on();
    deferred = s.roles.take_deferred();
    if (s.counters.bytes_gone == gone) break;
  }
  if (kind == PassKind::kDeepPlain) return;  // the quick pass has told of them
  for (const auto& extent : deferred) {
    ++s.counters.extents_scanned;
    s.counters.bytes_scanned += extent.length;
    s.counters.leave(Verdict::kKeeper, extent.length);
  }
}

absl::Status Engine::read_contents(Window window, std::uint64_t start,
                                   const std::function<bool()>& stop,
                                   const std::function<void(std::uint64_t)>& reached) {
  Shared& s = *shared_;
  ContentScan scan{s.fs,    s.fingerprint, s.fingerprinter, s.table, s.contents,
                   s.marks, &s.unjudged,   s.counters,      s.pace};
  return scan.run(window, start, stop, reached);
}

absl::Status Engine::refill_contents(Window window, const std::function<bool()>& stop) {
  Shared& s = *shared_;
  ContentMarks marks;
  ContentScan scan{s.fs,  s.fingerprint, s.fingerprinter, s.table, s.contents,
                   marks, nullptr,       s.counters,      s.pace};
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

PassResult Engine::run_pass(PassKind kind, Window window, Cursor start, const Census& census,
                            const std::atomic<bool>& stop, std::function<void(Cursor)> settled) {
  Shared& s = *shared_;
  // Sharing waits in the kernel: as many workers as may share, and one for all the rest.
  const std::size_t workers = s.options.threads + 1;
  const tbb::global_control control(tbb::global_control::max_allowed_parallelism, workers + 1);
  tbb::task_arena arena(static_cast<int>(workers));
  PassResult result;
  arena.execute([&] {
    {
      Flow flow(s, kind, window, start, stop);
      // What was read may equal what is older than the window: the marks say where. Where
      // everything was read, or marks are not all known, the window alone is walked over.
      const bool marked = kind == PassKind::kDeepPlain && s.marks.complete() &&
                          s.fingerprinter.kind() == index::FingerprintKind::kCsum;
      if (marked) {
        Marked extents(s.fs, window, s.marks, s.mark_reach());
        flow.run(extents, [](Cursor) {});
        result.reached = start;
      } else {
        Crawl crawl(s.fs, window, start, census);
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
