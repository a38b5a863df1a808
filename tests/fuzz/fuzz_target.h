// SPDX-License-Identifier: MIT
//
// What a fuzz target defines: libFuzzer's entry point, and well-formed inputs for the driver to
// start from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace skep::fuzz {

std::vector<std::vector<std::uint8_t>> seed_inputs();

}  // namespace skep::fuzz
