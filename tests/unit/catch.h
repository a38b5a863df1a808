// SPDX-License-Identifier: MIT
// Catch2, version 3 or 2. Tests use the names of version 3; those that version 2 has not are given
// to it here.
#pragma once

#if __has_include(<catch2/catch.hpp>)
#include <catch2/catch.hpp>

namespace Catch {
using Detail::Approx;
namespace Matchers {
inline auto ContainsSubstring(const std::string& text) { return Contains(text); }
}  // namespace Matchers
}  // namespace Catch
#else
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#endif
