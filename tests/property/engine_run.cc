// SPDX-License-Identifier: MIT
#include "engine_run.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <utility>

namespace skep::property {

using dedupe::Counters;
using dedupe::Verdict;

RunEnd run_engine(btrfs::Filesystem& fs, TableOfKind& table, Counters& counters,
                  const dedupe::Options& options, Progress& progress,
                  const std::atomic<bool>& stop) {
  const index::Fingerprinter fingerprinter(fs.info(), table.kind);
  dedupe::Rounds rounds({fs, fingerprinter, *table.table, counters, options, stop}, progress, {});
  RunEnd end;
  end.status = rounds.run();
  end.complete = end.status.ok();
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

TableOfKind TemporaryFolder::new_table(const btrfs::Filesystem& fs, index::FingerprintKind kind,
                                       std::uint64_t bytes) {
  index::TableOptions options;
  options.size_bytes = bytes;
  options.filesystem = fs.info().uuid;
  options.block_size = fs.info().block_size;
  options.csum_type = fs.info().csum_type;
  options.kind = kind;
  auto table = index::Table::open(fmt::format("{}/table{}", path_, ++tables_), options);
  if (!table.ok()) {
    std::fprintf(stderr, "%s\n", table.status().ToString().c_str());
    std::abort();
  }
  return {kind, *std::move(table)};
}

}  // namespace skep::property
