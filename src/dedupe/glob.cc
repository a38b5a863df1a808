// SPDX-License-Identifier: MIT
#include "skep/dedupe/glob.h"

#include <absl/status/status.h>
#include <fmt/format.h>
#include <fnmatch.h>

#include <cstddef>

#include "skep/btrfs/utf8.h"

namespace skep::dedupe {
namespace {

constexpr std::string_view kAnyFolders = "**";

// Where the bracket expression that begins at `at` ends, one past its `]`; npos when it does not.
std::size_t end_of_bracket(std::string_view text, std::size_t at) {
  ++at;
  if (at < text.size() && (text[at] == '!' || text[at] == '^')) ++at;
  for (bool first = true; at < text.size(); ++at, first = false) {
    if (text[at] == ']' && !first) return at + 1;
    if (text[at] == '\\') {
      ++at;
      continue;
    }
    if (text[at] != '[' || at + 1 >= text.size()) continue;
    const char kind = text[at + 1];  // [:alpha:], [.x.], [=x=]
    if (kind != ':' && kind != '.' && kind != '=') continue;
    const std::size_t end = text.find(std::string{kind, ']'}, at + 2);
    if (end != std::string_view::npos) at = end + 1;
  }
  return std::string_view::npos;
}

// What is wrong with a component; null when nothing is. fnmatch(3) takes what is not closed for
// itself, which nobody means.
const char* fault_of(std::string_view component) {
  if (component.empty()) return "has an empty component";
  if (component == "." || component == "..") return "has a component that no path has";
  for (std::size_t at = 0; at < component.size(); ++at) {
    if (component[at] == '\\') {
      if (++at == component.size()) return "ends in a backslash";
      continue;
    }
    if (component[at] != '[') continue;
    at = end_of_bracket(component, at);
    if (at == std::string_view::npos) return "has a bracket without an end";
    --at;
  }
  return nullptr;
}

absl::Status wrong(std::string_view text, std::string_view what) {
  return absl::InvalidArgumentError(fmt::format("'{}' {}", text, what));
}

bool component_matches(const std::string& pattern, std::string_view component) {
  return fnmatch(pattern.c_str(), std::string(component).c_str(), 0) == 0;
}

std::vector<std::string_view> components_of(std::string_view path) {
  std::vector<std::string_view> out;
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    out.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) break;
    path.remove_prefix(slash + 1);
  }
  return out;
}

}  // namespace

absl::StatusOr<Glob> Glob::parse(std::string_view text, Of of) {
  Glob out;
  out.text_ = text;
  std::string_view rest = text;
  if (rest.empty()) return absl::InvalidArgumentError("the pattern is empty");
  if (rest.find('\0') != std::string_view::npos) {
    return absl::InvalidArgumentError("a pattern has a NUL");
  }
  // The checkpoint keeps patterns, as JSON.
  if (!btrfs::is_utf8(rest)) {
    return absl::InvalidArgumentError("a pattern is not UTF-8; write a ? for each such byte");
  }
  if (rest.front() == '!') return wrong(text, "begins with '!'; write \\! for a name that does");
  if (of == Of::kSubvolume && rest == "/") return out;
  if (rest.back() == '/') {
    out.folders_only_ = of == Of::kPath;
    rest.remove_suffix(1);
  }
  out.anywhere_ = of == Of::kPath && rest.find('/') == std::string_view::npos;
  if (!rest.empty() && rest.front() == '/') rest.remove_prefix(1);
  if (rest.empty()) return wrong(text, "names nothing");
  while (true) {
    const std::size_t slash = rest.find('/');
    const std::string_view component = rest.substr(0, slash);
    if (const char* fault = fault_of(component)) return wrong(text, fault);
    out.components_.emplace_back(component);
    if (slash == std::string_view::npos) return out;
    rest.remove_prefix(slash + 1);
  }
}

bool Glob::matches(std::string_view path, bool is_folder) const {
  if (folders_only_ && !is_folder) return false;
  if (!anywhere_) return matches_whole(path);
  if (path.empty()) return false;
  const std::size_t slash = path.rfind('/');
  const auto last = slash == std::string_view::npos ? path : path.substr(slash + 1);
  return component_matches(components_.front(), last);
}

// When the components behind a `**` do not fit, it takes one more. Only the last one passed has to
// be tried again: an earlier one could gain nothing that this one cannot.
bool Glob::matches_whole(std::string_view path) const {
  const std::vector<std::string_view> parts = components_of(path);
  constexpr std::size_t kNone = -1;
  std::size_t pattern = 0, part = 0, after_any = kNone, retry = 0;
  while (part < parts.size()) {
    if (pattern < components_.size() && components_[pattern] == kAnyFolders) {
      after_any = ++pattern;
      retry = part;
      if (pattern == components_.size()) return true;
    } else if (pattern < components_.size() &&
               component_matches(components_[pattern], parts[part])) {
      ++pattern;
      ++part;
    } else if (after_any != kNone) {
      pattern = after_any;
      part = ++retry;
    } else {
      return false;
    }
  }
  return pattern == components_.size();
}

}  // namespace skep::dedupe
