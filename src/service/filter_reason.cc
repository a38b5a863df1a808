// SPDX-License-Identifier: MIT
#include "filter_reason.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "skep/dedupe/file_filter.h"

namespace skep::service {
namespace {

using dedupe::FilterOptions;
using dedupe::Glob;

// The filter taken apart: each part with its name. The file is left out when one of them leaves it
// out.
using Parts = std::vector<std::pair<std::string, FilterOptions>>;

void add_each(Parts& parts, const char* name, const std::vector<Glob>& globs,
              std::vector<Glob> FilterOptions::*where) {
  for (const Glob& glob : globs) {
    FilterOptions one;
    (one.*where).push_back(glob);
    parts.emplace_back(fmt::format("{} '{}'", name, glob.text()), std::move(one));
  }
}

// Those that let something in do so together.
void add_all(Parts& parts, const char* name, const std::vector<Glob>& globs,
             std::vector<Glob> FilterOptions::*where) {
  if (globs.empty()) return;
  FilterOptions all;
  all.*where = globs;
  parts.emplace_back(fmt::format("no {} that matches", name), std::move(all));
}

Parts parts_of(const FilterOptions& filter) {
  Parts out;
  if (!filter.read_only_subvolumes) {
    FilterOptions one;
    one.read_only_subvolumes = false;
    out.emplace_back("--no-read-only-subvols", std::move(one));
  }
  add_each(out, "--exclude-subvol", filter.exclude_subvolumes, &FilterOptions::exclude_subvolumes);
  add_all(out, "--include-subvol", filter.include_subvolumes, &FilterOptions::include_subvolumes);
  add_each(out, "--exclude", filter.exclude_paths, &FilterOptions::exclude_paths);
  add_all(out, "--include", filter.include_paths, &FilterOptions::include_paths);
  if (filter.file_bytes.least != 0) {
    FilterOptions one;
    one.file_bytes.least = filter.file_bytes.least;
    out.emplace_back(fmt::format("--min-file-size {}", filter.file_bytes.least), std::move(one));
  }
  if (filter.file_bytes.most != 0) {
    FilterOptions one;
    one.file_bytes.most = filter.file_bytes.most;
    out.emplace_back(fmt::format("--max-file-size {}", filter.file_bytes.most), std::move(one));
  }
  return out;
}

}  // namespace

absl::StatusOr<std::string> filter_reason(btrfs::Filesystem& fs, const FilterOptions& filter,
                                          btrfs::FileKey file) {
  for (auto& [name, part] : parts_of(filter)) {
    const auto excluded = dedupe::FileFilter(fs, part).excludes(file);
    if (!excluded.ok()) return excluded.status();
    if (*excluded) return name;
  }
  return std::string();
}

}  // namespace skep::service
