// SPDX-License-Identifier: MIT
//
// What a fuzz target defines: libFuzzer's entry point, and well-formed inputs to start from. And
// what targets share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace skep::fuzz {

using Input = std::vector<std::uint8_t>;

std::vector<Input> seed_inputs();

inline Input input_of(std::string_view text) { return {text.begin(), text.end()}; }

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Ends the process as a finding unless `holds`.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}

}  // namespace skep::fuzz
