// SPDX-License-Identifier: MIT
//
// Patterns for paths, as .gitignore understands them. A path is that from the top of the filesystem
// (subvolume 5), without a slash at its begin or end. Components are compared with fnmatch(3): `*`,
// `?`, brackets, a backslash before what is meant literally; none of them crosses a slash, and a
// dot at the begin is nothing special.
//
//   of paths       without a slash a pattern matches the last component alone, wherever it lies;
//   with
//                  one (at the end it does not count) it matches the path as a whole
//   of subvolumes  a pattern always matches the path as a whole; `/` is the top level alone
//   both           `**` as a component stands for any number of them, none included, and at the end
//                  for at least one; a slash at the end makes a pattern match folders alone
//
// Who asks gives each folder on the way too: what lies in a matched folder is matched. A value that
// parse() made; copied freely, thread-safe.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>
#include <vector>

namespace skep::dedupe {

class Glob {
 public:
  enum class Of { kPath, kSubvolume };
  // INVALID_ARGUMENT, in the form "'[a' has a bracket without an end", for what can match nothing.
  static absl::StatusOr<Glob> parse(std::string_view text, Of of);

  bool matches(std::string_view path, bool is_folder) const;

  const std::string& text() const { return text_; }  // as it was written
  bool operator==(const Glob& other) const { return text_ == other.text_; }

 private:
  Glob() = default;
  bool matches_whole(std::string_view path) const;

  std::string text_;
  std::vector<std::string> components_;  // "**" for any number of them; none: the empty path
  bool anywhere_ = false;                // compared with the last component of a path
  bool folders_only_ = false;
};

}  // namespace skep::dedupe
