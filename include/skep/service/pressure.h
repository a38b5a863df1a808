// SPDX-License-Identifier: MIT
//
// Pressure stall information (PSI, /proc/pressure): how long tasks waited for io, cpu or memory.
// skep reads it while it rests itself, so what it sees is the wait of others. The kernel brings the
// totals up to date at each read, so a look may be as short as some milliseconds; its averages, of
// ten seconds and more, would mostly show skep's own stalls. Thread-compatible.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace skep::service {

enum class Resource { kIo, kCpu, kMemory };
inline constexpr std::array kResources = {Resource::kIo, Resource::kCpu, Resource::kMemory};
constexpr std::size_t index_of(Resource resource) { return static_cast<std::size_t>(resource); }

// "io", "cpu", "memory": as the kernel names the file.
std::string_view name_of(Resource resource);
// The file as it is; empty when there is none, as on kernels without PSI or booted with psi=0.
std::string read_pressure(Resource resource);
// The total of the line "some"; empty when the text has none.
std::optional<std::chrono::microseconds> parse_stall_total(std::string_view text);

// One look: what part of a span of time somebody stalled.
class PressureLook {
 public:
  using Reader = std::function<std::string(Resource)>;
  using TimePoint = std::chrono::steady_clock::time_point;

  PressureLook(const Reader& read, TimePoint now);
  // Percent since the begin, by index_of; 0 for what cannot be read.
  std::array<double, kResources.size()> percent(TimePoint now) const;

 private:
  const Reader& read_;
  const TimePoint begin_;
  std::array<std::optional<std::chrono::microseconds>, kResources.size()> totals_;
};

}  // namespace skep::service
