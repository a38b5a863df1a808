// SPDX-License-Identifier: MIT
#include "html.h"

#include <string>

#include "catch.h"

namespace skep::cli {
namespace {

const std::string kReplaced = "\xef\xbf\xbd";

TEST_CASE("what HTML gives a meaning is escaped, in contents and in attributes") {
  CHECK(html("<img src=\"x\" onerror='y'>&amp;") ==
        "&lt;img src=&quot;x&quot; onerror=&#39;y&#39;&gt;&amp;amp;");
  CHECK(html("").empty());
  CHECK(html("plain / text: 100 %") == "plain / text: 100 %");
}

TEST_CASE("UTF-8 stays as it is") {
  const std::string text = "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x9d \xf4\x8f\xbf\xbf";
  CHECK(html(text) == text);
}

TEST_CASE("control characters are replaced") {
  CHECK(html(std::string_view("a\0b\n\x1b\x7f", 6)) ==
        "a" + kReplaced + "b" + kReplaced + kReplaced + kReplaced);
}

TEST_CASE("what is no UTF-8 is replaced byte by byte") {
  CHECK(html("\xff") == kReplaced);
  CHECK(html("a\x80z") == "a" + kReplaced + "z");
  CHECK(html("\xc3") == kReplaced);                                  // cut short
  CHECK(html("\xc3<") == kReplaced + "&lt;");                        // does not swallow it
  CHECK(html("\xc0\xbc") == kReplaced + kReplaced);                  // '<', overlong
  CHECK(html("\xe0\x80\xbc") == kReplaced + kReplaced + kReplaced);  // the same
  CHECK(html("\xed\xa0\x80") == kReplaced + kReplaced + kReplaced);  // a surrogate
  CHECK(html("\xf4\x90\x80\x80") == kReplaced + kReplaced + kReplaced + kReplaced);  // too high
}

}  // namespace
}  // namespace skep::cli
