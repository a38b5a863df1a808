// SPDX-License-Identifier: MIT
#include "engine_run.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "skep/dedupe/engine.h"
#include "skep/dedupe/fingerprint_stage.h"
#include "skep/dedupe/limits.h"

namespace skep::property {

using dedupe::Counters;
using dedupe::Verdict;

RunEnd run_engine(btrfs::Filesystem& fs, index::Table& table, Counters& counters,
                  const dedupe::Options& options, Progress& progress,
                  const std::atomic<bool>& stop) {
  const index::Fingerprinter fingerprinter(fs.info());
  dedupe::Engine engine(fs, fingerprinter, table, counters, options);
  RunEnd end;
  for (int i = 0; i < dedupe::limits::kPasses; ++i) {
    auto committed = fs.sync();
    if (!committed.ok()) return {committed.status(), false, end.passes};
    dedupe::Window window{progress.done_generation, *committed};
    dedupe::Cursor from;
    if (progress.unfinished) {
      window = progress.window;
      from = progress.cursor;
    }
    if (window.to <= window.after) break;
    auto census = dedupe::scan(fs, fingerprinter, window, table, [&stop] { return stop.load(); });
    if (!census.ok()) return {census.status(), false, end.passes};
    const std::uint64_t gone = counters.bytes_gone;
    const bool resumed = progress.unfinished;
    progress.unfinished = true;
    progress.window = window;
    progress.cursor = from;
    const auto result = engine.run_pass(window, from, *census, stop,
                                        [&](dedupe::Cursor reached) { progress.cursor = reached; });
    ++end.passes;
    progress.cursor = result.reached;
    if (!result.status.ok()) return {result.status, false, end.passes};
    if (!result.complete) return {absl::OkStatus(), false, end.passes};
    progress.unfinished = false;
    progress.done_generation = window.to;
    if (!resumed && counters.bytes_gone == gone) break;
  }
  end.complete = true;
  return end;
}

std::uint64_t verdict_extents(const Counters& counters) {
  std::uint64_t out = 0;
  for (const auto& tally : counters.verdicts) out += tally.extents;
  return out;
}

std::uint64_t verdict_bytes(const Counters& counters) {
  std::uint64_t out = 0;
  for (const auto& tally : counters.verdicts) out += tally.bytes;
  return out;
}

std::uint64_t extents_with(const Counters& counters, Verdict verdict) {
  return counters.verdicts[static_cast<std::size_t>(verdict)].extents;
}

std::string to_string(const Counters& counters) {
  std::string out = fmt::format("scanned {} ({} bytes), gone {} bytes, copied {} bytes",
                                counters.extents_scanned.load(), counters.bytes_scanned.load(),
                                counters.bytes_gone.load(), counters.bytes_copied.load());
  for (std::size_t i = 0; i < counters.verdicts.size(); ++i) {
    const auto& tally = counters.verdicts[i];
    if (tally.extents == 0) continue;
    out += fmt::format(", {} {} ({} bytes)", dedupe::name_of(static_cast<Verdict>(i)),
                       tally.extents.load(), tally.bytes.load());
  }
  counters.for_each([&](std::string_view name, std::uint64_t value) {
    if (value != 0 && !name.ends_with("_microseconds")) out += fmt::format(", {} {}", name, value);
  });
  return out;
}

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "skep-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) {
    std::perror("mkdtemp");
    std::abort();
  }
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::unique_ptr<index::Table> TemporaryFolder::new_table(const btrfs::Filesystem& fs,
                                                         std::uint64_t bytes) {
  index::TableOptions options;
  options.size_bytes = bytes;
  options.filesystem = fs.info().uuid;
  options.block_size = fs.info().block_size;
  options.csum_type = fs.info().csum_type;
  auto table = index::Table::open(fmt::format("{}/table{}", path_, ++tables_), options);
  if (!table.ok()) {
    std::fprintf(stderr, "%s\n", table.status().ToString().c_str());
    std::abort();
  }
  return *std::move(table);
}

}  // namespace skep::property
