// SPDX-License-Identifier: MIT
//
// Compares any path with any pattern. It must end soon: patterns with many stars are what matchers
// that go back and forth take for ever over.
//
// An input is a pattern, a zero byte, then a path.
#include <string>

#include "fuzz_target.h"
#include "skep/dedupe/glob.h"

namespace {

using skep::dedupe::Glob;
using skep::fuzz::input_of;
using skep::fuzz::require;
using std::string_view_literals::operator""sv;

// As long as PATH_MAX and NAME_MAX let them be.
constexpr std::size_t kMostPattern = 512, kMostPath = 4096;

void compare(std::string_view text, std::string_view path, Glob::Of of) {
  const auto pattern = Glob::parse(text, of);
  if (!pattern.ok()) {
    require(absl::IsInvalidArgument(pattern.status()), "a pattern refused with another error");
    return;
  }
  require(pattern->text() == text, "a pattern that is not as it was written");
  const bool as_file = pattern->matches(path, false);
  require(!as_file || pattern->matches(path, true), "it matches files alone");
}

}  // namespace

std::vector<skep::fuzz::Input> skep::fuzz::seed_inputs() {
  return {
      input_of("*.tmp\0a/b.tmp"sv),
      input_of("/a/**/b/\0a/x/y/b"sv),
      input_of("[!a-z]?\\*\0A1*"sv),
      input_of("**/**/**/*a*a*a*b\0a/a/a/a/aaaaaaaaaaaaaaaaaa"sv),
      input_of("/\0"sv),
  };
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = skep::fuzz::text_of(data, size);
  const std::size_t end = text.find('\0');
  if (end == std::string_view::npos || end > kMostPattern || size - end > kMostPath) return 0;
  for (const auto of : {Glob::Of::kPath, Glob::Of::kSubvolume}) {
    compare(text.substr(0, end), text.substr(end + 1), of);
  }
  return 0;
}
