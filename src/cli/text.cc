// SPDX-License-Identifier: MIT
#include "text.h"

#include <fmt/format.h>

#include <ctime>

namespace skep::cli {

std::string grouped(std::uint64_t number) {
  const std::string digits = std::to_string(number);
  std::string out;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i != 0 && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string plural(std::uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", grouped(count), noun, count == 1 ? "" : "s");
}

double share_of(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

std::string age(std::uint64_t since) {
  constexpr std::uint64_t kMinute = 60, kHour = 60 * kMinute, kDay = 24 * kHour;
  const auto now = static_cast<std::uint64_t>(time(nullptr));
  if (since > now) return "in the future";
  const std::uint64_t seconds = now - since;
  if (seconds < kMinute) return plural(seconds, "second") + " ago";
  if (seconds < 2 * kHour) return plural(seconds / kMinute, "minute") + " ago";
  if (seconds < 2 * kDay) return plural(seconds / kHour, "hour") + " ago";
  return plural(seconds / kDay, "day") + " ago";
}

std::string printable(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return out;
}

}  // namespace skep::cli
