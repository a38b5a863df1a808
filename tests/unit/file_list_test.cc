// SPDX-License-Identifier: MIT
#include "skep/service/file_list.h"

#include <string>
#include <string_view>
#include <vector>

#include "catch.h"
#include "skep/btrfs/status.h"

namespace skep::service {
namespace {

using Groups = std::vector<std::vector<std::string>>;
using std::string_view_literals::operator""sv;

FileList parsed(std::string_view text, ListFormat format = ListFormat::kAuto) {
  auto list = parse_file_list(text, format);
  INFO(list.status());
  REQUIRE(list.ok());
  return *list;
}

void check(std::string_view text, ListFormat format, bool claims_equal, const Groups& groups) {
  for (const ListFormat asked : {ListFormat::kAuto, format}) {
    const FileList list = parsed(text, asked);
    CHECK(list.format == format);
    CHECK(list.claims_equal == claims_equal);
    CHECK(list.groups == groups);
  }
}

std::string refusal(std::string_view text, ListFormat format = ListFormat::kAuto) {
  const auto list = parse_file_list(text, format);
  REQUIRE(!list.ok());
  CHECK(list.status().code() == absl::StatusCode::kInvalidArgument);
  return std::string(message_of(list.status()));
}

TEST_CASE("file list: a name a line is one set of candidates") {
  check("a\nb c\n/d", ListFormat::kLines, false, {{"a", "b c", "/d"}});
}

TEST_CASE("file list: nothing is a list of nothing") {
  check("", ListFormat::kLines, false, {});
  check("\n", ListFormat::kLines, false, {});
}

TEST_CASE("file list: names that end with NUL may have newlines") {
  check("a\nb\0c\0"sv, ListFormat::kNul, false, {{"a\nb", "c"}});
}

TEST_CASE("file list: the last NUL may be missing") {
  check("a\0b"sv, ListFormat::kNul, false, {{"a", "b"}});
}

TEST_CASE("file list: two NUL end a group, as jdupes -0 writes them") {
  check("a\0b\0\0c\0d\0\0"sv, ListFormat::kNul, true, {{"a", "b"}, {"c", "d"}});
}

TEST_CASE("file list: groups of fdupes end with an empty line") {
  check("a\nb\n\nc\nd\ne\n\n", ListFormat::kFdupes, true, {{"a", "b"}, {"c", "d", "e"}});
}

TEST_CASE("file list: groups of jdupes are the same, but for the end") {
  check("a\nb\n\nc\nd\n", ListFormat::kFdupes, true, {{"a", "b"}, {"c", "d"}});
}

TEST_CASE("file list: lines that tell the size of a group are no names") {
  check("12 bytes each:\na\nb\n\n1 byte each:\nc\nd\n\n", ListFormat::kFdupes, true,
        {{"a", "b"}, {"c", "d"}});
  check("a\n12 bytes each:\n\nc\nd\n", ListFormat::kFdupes, true,
        {{"a", "12 bytes each:"}, {"c", "d"}});
}

TEST_CASE("file list: names that are no UTF-8 stay as they are in text") {
  check("\xff\xfe\nb\n\n", ListFormat::kFdupes, true, {{"\xff\xfe", "b"}});
}

constexpr char kJdupes[] = R"({
  "jdupesVersion": "1.21.3",
  "commandLine": "jdupes -rj d",
  "extensionFlags": "fsdedup",
  "matchSets": [
    {
      "fileSize": 12,
      "fileList": [
        { "filePath": "d/a1" },
        { "filePath": "d/sp ace \"q\" \\back" }
      ]
    },
    {
      "fileSize": 100000,
      "fileList": [
        { "filePath": "d/new\u000aline" },
        { "filePath": "d/\u00fcmlaut\ud83d\ude00" }
      ]
    }
  ]
})";

TEST_CASE("file list: JSON of jdupes") {
  check(kJdupes, ListFormat::kJdupes, true,
        {{"d/a1", "d/sp ace \"q\" \\back"}, {"d/new\nline", "d/\xc3\xbcmlaut\xf0\x9f\x98\x80"}});
}

TEST_CASE("file list: jdupes names all that jdupes writes") {
  CHECK(parsed("a\nb\n", ListFormat::kJdupes).groups == Groups{{"a", "b"}});
  CHECK(parsed("a\nb\n", ListFormat::kJdupes).claims_equal);
  CHECK(parsed("a\0b\0\0"sv, ListFormat::kJdupes).groups == Groups{{"a", "b"}});
}

constexpr char kFclones[] = R"(# Report by fclones 0.34.0
# Timestamp: 2024-03-18 08:22:00.844 +0100
# Command: fclones group .
# Base dir: /home/some one
# Total: 13589 B (13.6 KB) in 4 files in 2 groups
# Redundant: 6819 B (6.8 KB) in 2 files
# Missing: 0 B (0 B) in 0 files
49165422e775f631cca3b09124f8ee89, 6274 B (6.3 KB) * 2:
    /home/some one/a: b
    relative
dcf2e11190ccc260f2388d9a5a2ed20e, 41 B (41 B) * 2:
    /new\nline\tand\\back
    /byte\xFF\x7F
)";

TEST_CASE("file list: fclones, with its escapes, below its base directory") {
  check(kFclones, ListFormat::kFclones, true,
        {{"/home/some one/a: b", "/home/some one/relative"},
         {"/new\nline\tand\\back", "/byte\xff\x7f"}});
}

TEST_CASE("file list: fclones with the ends of lines of another system") {
  CHECK(parsed("# Report by fclones 0.34.0\r\nab, 1 B (1 B) * 1:\r\n    /a\r\n").groups ==
        Groups{{"/a"}});
}

TEST_CASE("file list: fclones that found nothing") {
  CHECK(parsed("# Report by fclones 0.34.0\n").groups.empty());
}

TEST_CASE("file list: what is no report of fclones is told with its line") {
  CHECK(refusal("# Report by fclones 0.34.0\n    /a\n") == "line 2: a name before the first group");
  CHECK(refusal("# Report by fclones 0.34.0\nab, 1 B (1 B) * 1:\n    /a\\q\n") ==
        "line 3: no name, or an escape that is none");
  CHECK(refusal("# Report by fclones 0.34.0\n/a\n") ==
        "line 2: neither the head of a group of fclones nor an indented name");
}

constexpr char kFclonesJson[] = R"({
  "header": {
    "version": "0.34.0",
    "command": ["fclones", "group", ".", "-f", "json"],
    "base_dir": "/home/me",
    "stats": {"group_count": 1, "total_file_count": 2}
  },
  "groups": [
    {"file_len": 6274, "file_hash": "49165422e775f631cca3b09124f8ee89",
     "files": ["/home/me/a", "b\\\\c", "/byte\\xFF"]}
  ]
})";

TEST_CASE("file list: JSON of fclones has escapes in its strings") {
  check(kFclonesJson, ListFormat::kFclones, true, {{"/home/me/a", "/home/me/b\\c", "/byte\xff"}});
}

std::string rmlint_entry(std::string_view type, std::string_view checksum, std::string_view path) {
  return std::string(R"({"type": ")").append(type).append(R"(", "checksum": ")").append(checksum) +
         std::string(R"(", "size": 12, "is_original": false, "path": ")").append(path) + "\"},";
}

TEST_CASE("file list: JSON of rmlint, duplicate files alone") {
  const std::string text =
      R"([{"description": "rmlint json-dump of lint files"},)" +
      rmlint_entry("emptyfile", "", "/empty") + rmlint_entry("duplicate_dir", "77", "/folder") +
      rmlint_entry("duplicate_file", "ab", "/a") +
      rmlint_entry("duplicate_file", "cd", "/c\\n\\u0001") +
      rmlint_entry("duplicate_file", "ab", "/b") + rmlint_entry("part_of_directory", "cd", "/d") +
      R"({"aborted": false, "total_files": 16}])";
  check(text, ListFormat::kRmlint, true, {{"/a", "/b"}, {"/c\n\x01", "/d"}});
}

TEST_CASE("file list: rmlint's names that are no UTF-8 come out as they went in") {
  const std::string text = "[" + rmlint_entry("duplicate_file", "ab", "/inv\xff\xc3name") +
                           rmlint_entry("duplicate_file", "ab", "/\xc3\xbc\xf4\x8f\xbe\x80") +
                           R"({"aborted": false}])";
  check(text, ListFormat::kRmlint, true, {{"/inv\xff\xc3name", "/\xc3\xbc\xf4\x8f\xbe\x80"}});
}

TEST_CASE("file list: without checksums rmlint's groups begin with their originals") {
  const auto entry = [](std::string_view path, int size, bool original) {
    return std::string(R"({"type": "duplicate_file", "path": ")").append(path) +
           "\", \"size\": " + std::to_string(size) +
           ", \"is_original\": " + (original ? "true" : "false") + "},";
  };
  const std::string text = "[" + entry("/a", 1, true) + entry("/b", 1, false) +
                           entry("/c", 1, true) + entry("/d", 1, false) + entry("/e", 2, false) +
                           R"({"aborted": false}])";
  check(text, ListFormat::kRmlint, true, {{"/a", "/b"}, {"/c", "/d"}, {"/e"}});
}

TEST_CASE("file list: JSON that ends early, or is of something else") {
  CHECK(refusal(std::string_view(kJdupes).substr(0, 300)).find("is no JSON") != std::string::npos);
  CHECK(refusal(R"({"name": "package", "files": ["a"]})") ==
        "this JSON is no list of jdupes, fclones or rmlint");
  CHECK(refusal(kJdupes, ListFormat::kRmlint) == "this JSON is a list of another program");
}

TEST_CASE("file list: a name that begins with a bracket is no JSON") {
  check("[draft] a\n{b}\n", ListFormat::kLines, false, {{"[draft] a", "{b}"}});
}

TEST_CASE("file list: a NUL in a name is told") {
  CHECK(refusal("a\0b"sv, ListFormat::kLines) ==
        "names with NUL in them; --format nul reads such lists");
  CHECK(refusal(R"({"matchSets": [{"fileList": [{"filePath": "a\u0000b"}]}]})") ==
        "a name with NUL in it");
}

}  // namespace
}  // namespace skep::service
