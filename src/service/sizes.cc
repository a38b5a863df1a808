// SPDX-License-Identifier: MIT
#include "skep/service/sizes.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace skep::service {
namespace {
constexpr std::string_view kUnits = "KMGTPE";
constexpr std::uint64_t kMaxSeconds = 100ULL * 366 * 86400;

// Seconds of a unit of time; 0 for what is none.
std::uint64_t seconds_of(std::string_view unit) {
  if (unit.empty() || unit == "s" || unit == "sec") return 1;
  if (unit == "min" || unit == "m") return 60;
  return unit == "h" ? 3600 : unit == "d" ? 86400 : 0;
}

void skip_spaces(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
}
}  // namespace

std::optional<std::uint64_t> parse_size(std::string_view text) {
  double value = 0;
  const char* end = text.data() + text.size();
  auto [rest, error] = std::from_chars(text.data(), end, value, std::chars_format::fixed);
  if (error != std::errc() || !std::isfinite(value) || value < 0) return std::nullopt;
  std::string_view unit(rest, static_cast<std::size_t>(end - rest));
  if (!unit.empty() && unit != "B") {
    const char letter = static_cast<char>(unit.front() & ~0x20);
    const std::size_t power = kUnits.find(letter);
    if (power == std::string_view::npos) return std::nullopt;
    unit.remove_prefix(1);
    if (!unit.empty() && unit != "iB" && unit != "B") return std::nullopt;
    value *= std::pow(1024.0, static_cast<double>(power + 1));
  }
  if (value >= 18e18) return std::nullopt;
  return static_cast<std::uint64_t>(std::llround(value));
}

std::string format_size(std::uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (value /= 1024; value >= 1023.5 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return fmt::format("{:.{}f} {}iB", value, value < 9.95 ? 1 : 0, kUnits[unit]);
}

std::string format_duration(double seconds) {
  if (seconds < 9.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<std::uint64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

std::optional<std::chrono::seconds> parse_duration(std::string_view text) {
  if (text.empty() || text.front() == ' ') return std::nullopt;
  std::uint64_t sum = 0;
  while (!text.empty()) {
    std::uint64_t count = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (error != std::errc() || count > kMaxSeconds) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(rest - text.data()));
    skip_spaces(text);
    const auto unit = text.substr(0, text.find_first_not_of("dhimnsec"));
    const std::uint64_t seconds = seconds_of(unit);
    sum += count * seconds;
    // Without a unit it can only be the last.
    if (seconds == 0 || sum > kMaxSeconds || (unit.empty() && !text.empty())) return std::nullopt;
    text.remove_prefix(unit.size());
    skip_spaces(text);
  }
  return std::chrono::seconds(sum);
}

}  // namespace skep::service
