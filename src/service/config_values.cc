// SPDX-License-Identifier: MIT
#include "config_values.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <string_view>

#include "skep/service/sizes.h"

namespace skep::service {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

constexpr char kSizeSuggestion[] = "64K, 1G";
constexpr char kHoursSuggestion[] = "\"22:00-06:00\"";

absl::StatusOr<std::uint64_t> read_size(const toml::node& node, std::uint64_t least,
                                        std::uint64_t most) {
  std::optional<std::uint64_t> size;
  if (const auto* text = node.as_string()) size = parse_size(text->get());
  if (const auto* integer = node.as_integer(); integer && integer->get() >= 0) {
    size = static_cast<std::uint64_t>(integer->get());
  }
  if (!size) return wrong_value(node, "no size", kSizeSuggestion);
  if (*size < least || *size > most) {
    return absl::InvalidArgumentError(fmt::format("{} is not between {} and {}", shown(node),
                                                  format_size(least), format_size(most)));
  }
  return *size;
}

absl::StatusOr<double> read_number(const toml::node& node, double least, double most) {
  const auto number = node.is_number() ? node.value<double>() : std::nullopt;
  if (!number) return wrong_value(node, "no number", "one such as 1.5, without quotes");
  // In this form nan is refused too.
  if (!(*number >= least && *number <= most)) {
    return absl::InvalidArgumentError(
        fmt::format("{} is not between {} and {}", shown(node), least, most));
  }
  return *number;
}

absl::StatusOr<std::uint32_t> read_count(const toml::node& node, std::uint32_t least,
                                         std::uint32_t most) {
  const auto* integer = node.as_integer();
  if (!integer) return wrong_value(node, "no integer", fmt::format("{} to {}", least, most));
  if (integer->get() < least || integer->get() > most) {
    return absl::InvalidArgumentError(
        fmt::format("{} is not between {} and {}", shown(node), least, most));
  }
  return static_cast<std::uint32_t>(integer->get());
}

absl::StatusOr<bool> read_flag(const toml::node& node) {
  if (const auto* value = node.as_boolean()) return value->get();
  return wrong_value(node, "no boolean", "true or false, without quotes");
}

absl::StatusOr<std::string> read_directory(const toml::node& node) {
  const auto* text = node.as_string();
  if (!text || (!text->get().empty() && text->get().front() != '/')) {
    return wrong_value(node, "no absolute path", "one that begins with /, in quotes");
  }
  return text->get();
}

absl::StatusOr<seconds> read_duration(const toml::node& node, seconds least, seconds most) {
  std::optional<seconds> duration;
  if (const auto* text = node.as_string()) duration = parse_duration(text->get());
  if (const auto* integer = node.as_integer()) duration = seconds(integer->get());
  if (!duration) return wrong_value(node, "no duration", "\"90s\", \"2min\" or \"1h\"");
  if (*duration < least || *duration > most) {
    return absl::InvalidArgumentError(fmt::format("{} is not between {} and {} seconds",
                                                  shown(node), least.count(), most.count()));
  }
  return *duration;
}

// "6:00" or "22:00"; 24:00 is midnight.
std::optional<minutes> time_of_day(std::string_view text) {
  const char* const end = text.data() + text.size();
  unsigned hour = 0, minute = 0;
  const auto [colon, error] = std::from_chars(text.data(), end, hour);
  if (error != std::errc() || colon - text.data() > 2 || end - colon != 3 || *colon != ':') {
    return std::nullopt;
  }
  const auto [rest, minute_error] = std::from_chars(colon + 1, end, minute);
  if (minute_error != std::errc() || rest != end) return std::nullopt;
  if (minute > 59 || hour * 60 + minute > 24 * 60) return std::nullopt;
  return minutes((hour * 60 + minute) % (24 * 60));
}

std::optional<Hours> parse_hours(std::string_view text) {
  const std::size_t dash = text.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto begin = time_of_day(text.substr(0, dash)), end = time_of_day(text.substr(dash + 1));
  if (!begin || !end) return std::nullopt;
  return Hours{*begin, *end};
}

absl::Status add_hours(const toml::node& node, std::vector<Hours>& all) {
  const auto* text = node.as_string();
  const auto hours = text ? parse_hours(text->get()) : std::nullopt;
  if (!hours) return wrong_value(node, "no time of day", kHoursSuggestion);
  all.push_back(*hours);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Hours>> read_hours(const toml::node& node) {
  std::vector<Hours> all;
  if (const auto* text = node.as_string(); text && text->get().empty()) return all;
  if (const auto* array = node.as_array()) {
    for (const auto& element : *array) {
      if (auto status = add_hours(element, all); !status.ok()) return status;
    }
    return all;
  }
  if (auto status = add_hours(node, all); !status.ok()) return status;
  return all;
}

constexpr char kPatternSuggestion[] = R"("*.iso" or ["*.iso", "/home/*/.cache"])";

absl::Status add_pattern(const toml::node& node, dedupe::Glob::Of of,
                         std::vector<dedupe::Glob>& all) {
  const auto* text = node.as_string();
  if (!text) return wrong_value(node, "no pattern", kPatternSuggestion);
  auto glob = dedupe::Glob::parse(text->get(), of);
  if (!glob.ok()) return glob.status();
  all.push_back(*std::move(glob));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<dedupe::Glob>> read_patterns(const toml::node& node,
                                                        dedupe::Glob::Of of) {
  std::vector<dedupe::Glob> all;
  if (const auto* text = node.as_string(); text && text->get().empty()) return all;
  if (const auto* array = node.as_array()) {
    for (const auto& element : *array) {
      if (auto status = add_pattern(element, of, all); !status.ok()) return status;
    }
    return all;
  }
  if (auto status = add_pattern(node, of, all); !status.ok()) return status;
  return all;
}

}  // namespace

std::string shown(const toml::node& node) {
  if (const auto* text = node.as_string()) return fmt::format("'{}'", text->get());
  if (const auto* integer = node.as_integer()) return fmt::format("{}", integer->get());
  if (const auto* number = node.as_floating_point()) return fmt::format("{}", number->get());
  if (const auto* flag = node.as_boolean()) return fmt::format("{}", flag->get());
  if (node.is_array()) return "an array";
  return node.is_table() ? "a section" : "a date or time";
}

absl::Status wrong_value(const toml::node& node, const std::string& what,
                         const std::string& suggestion) {
  return absl::InvalidArgumentError(
      fmt::format("{} is {}; write {}", shown(node), what, suggestion));
}

ValueKind<std::uint64_t> size_between(std::uint64_t least, std::uint64_t most) {
  return {"size", [=](const toml::node& node) { return read_size(node, least, most); }};
}

ValueKind<std::uint64_t> size_or_auto(std::uint64_t least, std::uint64_t most) {
  return {"size or \"auto\"", [=](const toml::node& node) -> absl::StatusOr<std::uint64_t> {
            if (const auto* text = node.as_string(); text && text->get() == "auto") return 0;
            return read_size(node, least, most);
          }};
}

ValueKind<double> number_between(double least, double most) {
  return {"number", [=](const toml::node& node) { return read_number(node, least, most); }};
}

ValueKind<double> percent() {
  return {"percent", [](const toml::node& node) { return read_number(node, 0, 100); }};
}

ValueKind<std::uint32_t> count_between(std::uint32_t least, std::uint32_t most) {
  return {"integer", [=](const toml::node& node) { return read_count(node, least, most); }};
}

ValueKind<bool> flag() { return {"boolean", read_flag}; }

ValueKind<std::string> directory() { return {"path", read_directory}; }

ValueKind<seconds> duration_between(seconds least, seconds most) {
  return {"duration", [=](const toml::node& node) { return read_duration(node, least, most); }};
}

ValueKind<std::vector<Hours>> hours_of_day() { return {"hours", read_hours}; }

ValueKind<std::vector<dedupe::Glob>> patterns(dedupe::Glob::Of of) {
  return {"patterns", [of](const toml::node& node) { return read_patterns(node, of); }};
}

}  // namespace skep::service
