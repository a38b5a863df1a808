// SPDX-License-Identifier: MIT
#include "skep/btrfs/utf8.h"

#include <string>

#include "catch.h"

namespace skep::btrfs {
namespace {

TEST_CASE("utf8: what is appended is one character") {
  for (const std::uint32_t code :
       {0x1U, 0x7fU, 0x80U, 0x7ffU, 0x800U, 0xd7ffU, 0xe000U, 0xffffU, 0x10000U, 0x10ffffU}) {
    std::string text;
    append_utf8(text, code);
    CHECK(utf8_length(text) == text.size());
    CHECK(utf8_length(text + "x") == text.size());
    CHECK(utf8_length(std::string_view(text).substr(0, text.size() - 1)) == 0);
  }
}

TEST_CASE("utf8: overlong forms, surrogates and stray bytes are none") {
  for (const char* text :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc3(", "a\xc3"}) {
    CHECK_FALSE(is_utf8(text));
  }
  CHECK(is_utf8(""));
  CHECK(is_utf8("a\xc3\xbc\n"));
}

}  // namespace
}  // namespace skep::btrfs
