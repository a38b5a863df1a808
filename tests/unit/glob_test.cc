// SPDX-License-Identifier: MIT
#include "skep/dedupe/glob.h"

#include <string>

#include "catch.h"
#include "skep/btrfs/status.h"

namespace skep::dedupe {
namespace {

Glob glob(const std::string& text, Glob::Of of = Glob::Of::kPath) {
  auto parsed = Glob::parse(text, of);
  INFO(text << ": " << parsed.status());
  REQUIRE(parsed.ok());
  return *parsed;
}

// As who asks does it: every folder on the way, then the file.
bool covers(const Glob& pattern, const std::string& file) {
  for (std::size_t slash = file.find('/'); slash != std::string::npos;
       slash = file.find('/', slash + 1)) {
    if (pattern.matches(file.substr(0, slash), true)) return true;
  }
  return pattern.matches(file, false);
}

struct Row {
  const char* pattern;
  const char* file;
  bool covered;
};

TEST_CASE("patterns cover files as .gitignore says", "[glob]") {
  const Row rows[] = {
      // Without a slash: any component, anywhere.
      {"*.vdi", "disk.vdi", true},
      {"*.vdi", "home/a/vm/disk.vdi", true},
      {"*.vdi", "home/a/disk.vdi.old", false},
      {"*.vdi", "images.vdi/disk", true},
      {"node_modules", "node_modules/a/b.js", true},
      {"node_modules", "src/web/node_modules/a/b.js", true},
      {"node_modules", "src/node_modules_old/b.js", false},
      {"node_modules", "src/my_node_modules", false},
      {"cache", "cache", true},
      {"?at", "a/cat", true},
      {"?at", "a/at", false},
      {"?", "dir/\xc3\xa4", false},  // bytes, as git takes them
      {"??", "dir/\xc3\xa4", true},
      {"*", "anything/at/all", true},
      {".*", "home/.profile", true},
      {"*", ".hidden", true},
      // With one: from the top.
      {"/home/*/.cache", "home/a/.cache/x/y", true},
      {"/home/*/.cache", "home/a/b/.cache/x", false},
      {"/home/*/.cache", "home/.cache/x", false},
      {"/home/*/.cache", "srv/home/a/.cache/x", false},
      {"/home/*", "home/.profile", true},
      {"home/a", "home/a", true},
      {"home/a", "srv/home/a", false},
      {"/home", "home/a", true},
      {"/home", "srv/home/a", false},
      {"/*.iso", "a.iso", true},
      {"/*.iso", "b/a.iso", false},
      {"a*b/c", "axxb/c", true},
      {"a*b/c", "ax/xb/c", false},
      {"a?b", "a/b", false},
      // A slash at the end: folders.
      {"build/", "src/build/a.o", true},
      {"build/", "src/build", false},
      {"/build/", "build/a.o", true},
      {"/build/", "src/build/a.o", false},
      {"src/build/", "src/build/a.o", true},
      {"src/build/", "src/build", false},
      // Any number of folders.
      {"**/target", "target/a", true},
      {"**/target", "a/b/target/c", true},
      {"**/target/debug", "a/target/debug/x", true},
      {"**/target/debug", "a/target/x/debug/x", false},
      {"a/**/b", "a/b", true},
      {"a/**/b", "a/x/b", true},
      {"a/**/b", "a/x/y/b", true},
      {"a/**/b", "a/x/y/c", false},
      {"a/**/b", "x/a/b", false},
      {"a/**", "a/x", true},
      {"a/**", "a/x/y", true},
      {"a/**", "a", false},
      {"a/**", "b/a/x", false},
      {"**/a/**/b/**/c", "x/a/b/y/b/z/c", true},
      {"**/a/**/b/**/c", "x/a/y/c/b", false},
      {"a/**/b/*.c", "a/b/x/b/y.c", true},
      {"**", "a/b", true},
      {"**/x", "x", true},
      {"a/**/**/b", "a/b", true},
      {"/a/x**y", "a/xzy", true},  // within a component: as one asterisk
      {"/a/x**y", "a/x/y", false},
      // Brackets and backslashes.
      {"[ab].c", "a.c", true},
      {"[ab].c", "c.c", false},
      {"[!ab].c", "c.c", true},
      {"[^ab].c", "a.c", false},
      {"[a-c]x", "bx", true},
      {"[]]x", "]x", true},
      {"[!]]x", "]x", false},
      {"[[:digit:]]x", "7x", true},
      {"[[:digit:]]x", "ax", false},
      {"[a\\]]x", "]x", true},
      {"\\*.c", "*.c", true},
      {"\\*.c", "a.c", false},
      {"\\[a", "[a", true},
      {"\\!important", "a/!important", true},
      {"#save#", "#save#", true},  // a list has no comments
      {"a b", "x/a b", true},
      {"A", "a", false},
  };
  for (const Row& row : rows) {
    INFO("'" << row.pattern << "' and '" << row.file << "'");
    CHECK(covers(glob(row.pattern), row.file) == row.covered);
  }
}

TEST_CASE("patterns for subvolumes name the whole path", "[glob]") {
  const auto matches = [](const char* pattern, const char* path) {
    return glob(pattern, Glob::Of::kSubvolume).matches(path, true);
  };
  CHECK(matches("home", "home"));
  CHECK(matches("/home", "home"));
  CHECK(matches("home/", "home"));
  CHECK_FALSE(matches("home", "backup/home"));
  CHECK(matches("*", "home"));
  CHECK_FALSE(matches("*", "backup/home"));
  CHECK(matches(".snapshots/*/snapshot", ".snapshots/12/snapshot"));
  CHECK(matches("**/snapshot", ".snapshots/12/snapshot"));
  CHECK(matches("**", "home"));
  CHECK(matches("/", ""));
  CHECK_FALSE(matches("/", "home"));
  CHECK_FALSE(matches("**", ""));
  CHECK_FALSE(matches("*", ""));
}

TEST_CASE("patterns that can match nothing are refused", "[glob]") {
  const std::pair<const char*, const char*> rows[] = {
      {"", "the pattern is empty"},
      {"/", "'/' names nothing"},
      {"//", "'//' names nothing"},
      {"a//b", "'a//b' has an empty component"},
      {"/home/../etc", "'/home/../etc' has a component that no path has"},
      {"./a", "'./a' has a component that no path has"},
      {"[a", "'[a' has a bracket without an end"},
      {"a/[!]", "'a/[!]' has a bracket without an end"},
      {"[a/b]", "'[a/b]' has a bracket without an end"},
      {"[[:digit:]", "'[[:digit:]' has a bracket without an end"},
      {"[a\\]", "'[a\\]' has a bracket without an end"},
      {"[\\", "'[\\' has a bracket without an end"},
      {"a\\", "'a\\' ends in a backslash"},
      {"a\\/b", "'a\\/b' ends in a backslash"},
      {"!*.c", "'!*.c' begins with '!'; write \\! for a name that does"},
      {"\xff", "a pattern is not UTF-8; write a ? for each such byte"},
      {"\xc3", "a pattern is not UTF-8; write a ? for each such byte"},
      {"\xed\xa0\x80", "a pattern is not UTF-8; write a ? for each such byte"},
      {"\xe0\x80\x80", "a pattern is not UTF-8; write a ? for each such byte"},
  };
  for (const auto& [pattern, message] : rows) {
    INFO(pattern);
    CHECK(std::string(message_of(Glob::parse(pattern, Glob::Of::kPath).status())) == message);
  }
  const std::string with_nul("a\0b", 3);
  CHECK(Glob::parse(with_nul, Glob::Of::kPath).status().message() == "a pattern has a NUL");
  CHECK(Glob::parse("\xf0\x9f\x90\x9d", Glob::Of::kPath).ok());
}

TEST_CASE("many asterisks are matched in no time", "[glob]") {
  std::string pattern, path;
  for (int i = 0; i < 60; ++i) pattern += "**/a/";
  pattern += "b";
  for (int i = 0; i < 200; ++i) path += "a/";
  CHECK_FALSE(glob(pattern).matches(path + "c", false));
  CHECK(glob(pattern).matches(path + "b", false));
}

}  // namespace
}  // namespace skep::dedupe
