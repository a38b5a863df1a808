// SPDX-License-Identifier: MIT
#include "chart.h"

#include <cstdint>
#include <string>

#include "catch.h"

namespace skep::cli {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t out = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++out;
  return out;
}

bool has(const std::string& text, const std::string& what) { return count(text, what) != 0; }

TEST_CASE("a scale of sizes has powers of two, one of counts round numbers, and few lines") {
  CHECK(scale_step(0, true) == 1);
  CHECK(scale_step(30 * kMiB, true) == 8 * kMiB);
  CHECK(scale_step(32 * kMiB, true) == 8 * kMiB);
  CHECK(scale_step(33 * kMiB, true) == 16 * kMiB);
  CHECK(scale_step(0, false) == 1);
  CHECK(scale_step(9, false) == 2);
  CHECK(scale_step(177, false) == 50);
  for (std::uint64_t most = 1; most < 1ULL << 60; most = most * 3 + 1) {
    for (const bool sizes : {true, false}) {
      const std::uint64_t step = scale_step(most, sizes);
      INFO(most << " " << sizes);
      CHECK((most + step - 1) / step <= 5);
      CHECK((most < 4 || most / step >= 2));
    }
  }
}

TEST_CASE("a chart names itself, and each point tells its figures") {
  const std::string text = svg(TimeChart{
      "x", "Freed & more", "From <here>.", {{1'790'000'000, kMiB}, {1'790'086'400, 3 * kMiB}}});
  CHECK(has(text, "aria-labelledby=\"x-t x-d\""));
  CHECK(has(text, "<title id=\"x-t\">Freed &amp; more</title>"));
  CHECK(has(text, "<desc id=\"x-d\">From &lt;here&gt;.</desc>"));
  CHECK(count(text, "class=\"hit\"") == 2);
  CHECK(has(text, ": 1.0 MiB</title>"));
  CHECK(has(text, ": 3.0 MiB</title>"));
  CHECK(has(text, ">3 MiB</text>"));
}

TEST_CASE("a chart of one point, or of none but zeros, is whole") {
  for (const std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{7}, std::uint64_t{1} << 62}) {
    const std::string text = svg(TimeChart{"x", "t", "d", {{1'790'000'000, bytes}}});
    CHECK(has(text, "</svg>"));
    CHECK_FALSE(has(text, "nan"));
    CHECK_FALSE(has(text, "inf"));
  }
}

TEST_CASE("the times of a chart have at most seven marks, whatever its span") {
  for (std::int64_t span = 1; span < 40LL * 366 * 86400; span = span * 2 + 1) {
    const std::string text =
        svg(TimeChart{"x", "t", "d", {{1'790'000'000, 1}, {1'790'000'000 + span, 1}}});
    INFO(span);
    // The scale has lines of the same class, as many as of values.
    const std::size_t marks = count(text, "class=\"tick\"") - count(text, "<line");
    CHECK(marks <= 8);
    CHECK((marks >= 1 || span < 86400));
  }
}

TEST_CASE("bars of nothing are not drawn, others tell what they are") {
  PairChart chart{"x", "t", "d", "before", "now", {{"4K", 0, 5}, {"8K", 7, 0}}, false};
  const std::string text = svg(chart);
  CHECK(count(text, "<path") == 2);
  CHECK(has(text, "<title>4K, now: 5</title>"));
  CHECK(has(text, "<title>8K, before: 7</title>"));
  chart.sizes = true;
  CHECK(has(svg(chart), "<title>8K, before: 7 B</title>"));
}

TEST_CASE("a meter shows a little of little, and no more than all") {
  CHECK(has(meter(0, 100), "class=\"now\" width=\"0.0\""));
  CHECK(has(meter(1e-9, 100), "class=\"now\" width=\"2.0\""));
  CHECK(has(meter(0.5, 100), "class=\"now\" width=\"50.0\""));
  CHECK(has(meter(7, 100), "class=\"now\" width=\"100.0\""));
}

}  // namespace
}  // namespace skep::cli
