// SPDX-License-Identifier: MIT
//
// The kinds of values in configuration files: how each is called, and how it is read from a node of
// TOML. What is wrong with a value comes back as INVALID_ARGUMENT, with a suggestion, and without
// the place, which the caller knows. Pure functions, thread-safe.
#pragma once

#include <absl/status/statusor.h>
#include <toml++/toml.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "skep/dedupe/glob.h"
#include "skep/service/settings.h"

namespace skep::service {

template <typename T>
struct ValueKind {
  std::string type;  // as the documents call it
  std::function<absl::StatusOr<T>(const toml::node&)> read;
};

// Bytes: "64K", "1.5G", or an integer.
ValueKind<std::uint64_t> size_between(std::uint64_t least, std::uint64_t most);
// The same, or "auto", which is 0.
ValueKind<std::uint64_t> size_or_auto(std::uint64_t least, std::uint64_t most);
// With or without decimals.
ValueKind<double> number_between(double least, double most);
ValueKind<double> percent();
ValueKind<std::uint32_t> count_between(std::uint32_t least, std::uint32_t most);
ValueKind<bool> flag();
// An absolute path, for a daemon has no folder of its own to begin at; or "", the default.
ValueKind<std::string> directory();
// "2min", or an integer of seconds.
ValueKind<std::chrono::seconds> duration_between(std::chrono::seconds least,
                                                 std::chrono::seconds most);
// "22:00-06:00", or an array of such; "" and [] are no limit.
ValueKind<std::vector<Hours>> hours_of_day();

// A pattern, or an array of them; "" and [] are none.
ValueKind<std::vector<dedupe::Glob>> patterns(dedupe::Glob::Of of);

// The node as a message shows it: 'text', 12, true, "an array".
std::string shown(const toml::node& node);
// INVALID_ARGUMENT: "'x' is WHAT; write THIS".
absl::Status wrong_value(const toml::node& node, const std::string& what,
                         const std::string& suggestion);

// A few named values.
template <typename T>
ValueKind<T> one_of(const std::vector<std::pair<std::string, T>>& choices) {
  std::string type;
  for (const auto& choice : choices) {
    type += (type.empty() ? "\"" : " or \"") + choice.first + "\"";
  }
  auto read = [choices, type](const toml::node& node) -> absl::StatusOr<T> {
    for (const auto& [name, value] : choices) {
      if (node.is_string() && node.as_string()->get() == name) return value;
    }
    return wrong_value(node, "none of its values", type);
  };
  return {type, read};
}

}  // namespace skep::service
