// SPDX-License-Identifier: MIT
#include "skep/dedupe/filter_options.h"

#include <algorithm>

namespace skep::dedupe {
namespace {

bool all_in(const std::vector<Glob>& some, const std::vector<Glob>& all) {
  return std::all_of(some.begin(), some.end(), [&](const Glob& glob) {
    return std::find(all.begin(), all.end(), glob) != all.end();
  });
}

// Patterns are compared by their text: one that is written otherwise may mean the same, and is then
// looked at anew for nothing.
bool includes_more(const std::vector<Glob>& before, const std::vector<Glob>& now) {
  if (before.empty()) return false;
  return now.empty() || !all_in(now, before);
}

bool wider(const SizeLimits& before, const SizeLimits& now) {
  if (now.least < before.least) return true;
  return before.most != 0 && (now.most == 0 || now.most > before.most);
}

}  // namespace

bool lets_more_through(const FilterOptions& before, const FilterOptions& now) {
  return includes_more(before.include_subvolumes, now.include_subvolumes) ||
         includes_more(before.include_paths, now.include_paths) ||
         !all_in(before.exclude_subvolumes, now.exclude_subvolumes) ||
         !all_in(before.exclude_paths, now.exclude_paths) ||
         (now.read_only_subvolumes && !before.read_only_subvolumes) ||
         wider(before.file_bytes, now.file_bytes) || wider(before.extent_bytes, now.extent_bytes) ||
         (before.within_subvolume != 0 && now.within_subvolume != before.within_subvolume);
}

}  // namespace skep::dedupe
