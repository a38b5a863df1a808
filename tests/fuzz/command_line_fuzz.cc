// SPDX-License-Identifier: MIT
//
// Parses any words as a command line. They are refused with a reason, or understood; nothing is
// opened or done, and no other exception leaves the parser.
//
// An input is the words after `skep`, each with a zero byte behind it.
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "../../src/cli/option_table.h"
#include "fuzz_target.h"

namespace {

using skep::fuzz::input_of;
using skep::fuzz::require;
using std::string_view_literals::operator""sv;

constexpr std::size_t kMostWords = 64;

}  // namespace

std::vector<skep::fuzz::Input> skep::fuzz::seed_inputs() {
  return {
      input_of("run\0--once\0/mnt\0--table-size\0"
               "64M\0--depth=quick\0--max-copy-ratio\0"
               "0.5\0"sv),
      input_of("run\0--exclude\0*.tmp\0--min-file-size=4K\0-v\0/mnt\0"sv),
      input_of("table\0resize\0/x\0--size\0"
               "1G\0"sv),
      input_of("estimate\0/mnt\0--json\0--sample\0"
               "5\0"sv),
      input_of("dedupe-files\0--from\0-\0--format\0fdupes\0--dry-run\0a\0b\0"sv),
      input_of("find-new\0/mnt/sub\0"
               "42\0"sv),
      input_of("status\0--watch\0--json\0"sv),
      input_of("--help\0"sv),
      input_of("completion\0zsh\0"sv),
  };
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string text(skep::fuzz::text_of(data, size));
  std::vector<char*> words;
  std::string name = "skep";
  words.push_back(name.data());
  for (std::size_t at = 0; at < text.size() && words.size() < kMostWords;) {
    words.push_back(text.data() + at);
    at = text.find('\0', at);
    if (at == std::string::npos) break;
    ++at;
  }
  CLI::App app("", "skep");
  skep::cli::Commands commands(app);
  try {
    app.parse(static_cast<int>(words.size()), words.data());
  } catch (const CLI::Success&) {
    (void)app.help();
  } catch (const CLI::ParseError& e) {
    require(e.what()[0] != '\0', "a command line refused without a reason");
  }
  return 0;
}
