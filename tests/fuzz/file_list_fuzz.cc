// SPDX-License-Identifier: MIT
//
// Feeds the parsers of file lists with any bytes, in each format. They must not read past them, and
// what they accept must keep what their header promises.
//
// An input is the format (1 byte), then the list.
#include <string_view>

#include "fuzz_target.h"
#include "skep/service/file_list.h"

namespace {

using namespace skep::service;  // NOLINT: one file, one subject
using skep::fuzz::require;
using skep::fuzz::text_of;
using std::string_view_literals::operator""sv;

constexpr ListFormat kFormats[] = {ListFormat::kAuto,   ListFormat::kLines,  ListFormat::kNul,
                                   ListFormat::kFdupes, ListFormat::kJdupes, ListFormat::kFclones,
                                   ListFormat::kRmlint};

skep::fuzz::Input input(std::string_view list) {
  auto out = skep::fuzz::input_of(list);
  out.insert(out.begin(), 0);
  return out;
}

}  // namespace

std::vector<std::vector<std::uint8_t>> skep::fuzz::seed_inputs() {
  return {
      input("a\nb c\n"),
      input("a\0b\0\0c\0d\0\0"sv),
      input("12 bytes each:\na\nb\n\nc\n\xff\n\n"),
      input("# Report by fclones 0.34.0\n# Base dir: /x\\n\nab, 1 B (1 B) * 2:\n    a\\xFFb\n"
            "    /c\\u00263A\n"),
      input(R"({"header":{"base_dir":"/x"},"groups":[{"file_len":1,"files":["a\\n","/b"]}]})"),
      input(R"({"matchSets":[{"fileSize":1,"fileList":[{"filePath":"a\u00fc\ud83d\ude00"}]}]})"),
      input("[{\"type\":\"duplicate_file\",\"size\":1,\"checksum\":\"ab\",\"is_original\":true,"
            "\"path\":\"/a\xff\xf4\x8f\xbe\x80\xc3\xbc\"},{\"type\":\"duplicate_file\","
            "\"path\":\"/b\"}]"),
  };
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view list = text_of(data + 1, size - 1);
  const auto parsed = parse_file_list(list, kFormats[data[0] % std::size(kFormats)]);
  require(parsed.ok() || parsed.status().code() == absl::StatusCode::kInvalidArgument,
          "another error than that the list is wrong");
  if (!parsed.ok()) return 0;
  require(parsed->format != ListFormat::kAuto, "a list in no format");
  require(parsed->claims_equal || parsed->groups.size() <= 1, "several sets of candidates");
  for (const auto& group : parsed->groups) {
    require(!group.empty(), "an empty group");
    for (const auto& name : group) {
      require(!name.empty() && name.find('\0') == std::string::npos, "a name that none can have");
    }
  }
  return 0;
}
