// SPDX-License-Identifier: MIT
#include "skep/service/pressure.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <system_error>

namespace skep::service {

std::string_view name_of(Resource resource) {
  switch (resource) {
    case Resource::kIo:
      return "io";
    case Resource::kCpu:
      return "cpu";
    case Resource::kMemory:
      return "memory";
  }
  return "";
}

std::string read_pressure(Resource resource) {
  std::ifstream file("/proc/pressure/" + std::string(name_of(resource)));
  return {std::istreambuf_iterator<char>(file), {}};
}

std::optional<std::chrono::microseconds> parse_stall_total(std::string_view text) {
  constexpr std::string_view kLine = "some ", kField = " total=";
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const std::size_t field = line.find(kField);
    if (!line.starts_with(kLine) || field == std::string_view::npos) continue;
    const std::string_view digits = line.substr(field + kField.size());
    std::int64_t micros = 0;
    if (std::from_chars(digits.begin(), digits.end(), micros).ec == std::errc()) {
      return std::chrono::microseconds(micros);
    }
  }
  return std::nullopt;
}

PressureLook::PressureLook(const Reader& read, TimePoint now) : read_(read), begin_(now) {
  for (const Resource resource : kResources) {
    totals_[index_of(resource)] = parse_stall_total(read(resource));
  }
}

std::array<double, kResources.size()> PressureLook::percent(TimePoint now) const {
  std::array<double, kResources.size()> out{};
  const std::chrono::duration<double> span = now - begin_;
  if (span.count() <= 0) return out;
  for (const Resource resource : kResources) {
    const auto& before = totals_[index_of(resource)];
    const auto after = parse_stall_total(read_(resource));
    if (!before || !after) continue;
    // The kernel's clock of stalls and ours are read at slightly different moments.
    out[index_of(resource)] =
        std::clamp(100 * std::chrono::duration<double>(*after - *before) / span, 0.0, 100.0);
  }
  return out;
}

}  // namespace skep::service
