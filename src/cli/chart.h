// SPDX-License-Identifier: MIT
//
// Charts as inline SVG, for the page of `skep report`. They take their colours from the page's
// classes, so that they follow its colour scheme. Each has a title and a description for those who
// do not see it, and a title on each mark. Pure functions, but for the time zone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace skep::cli {

struct TimePoint {
  std::int64_t time = 0;  // seconds since 1970
  std::uint64_t bytes = 0;
};

// A value that holds until the next point, as a line with the space below it filled. The points are
// in order, and there is one at least. `id` is unique in the page.
struct TimeChart {
  std::string id, title, description;
  std::vector<TimePoint> points;
};
std::string svg(const TimeChart& chart);

// Pairs of bars, then and now, for each label.
struct PairChart {
  std::string id, title, description;
  std::string then, now;  // what the two are
  struct Pair {
    std::string label;
    std::uint64_t then = 0, now = 0;
  };
  std::vector<Pair> pairs;
  bool sizes = false;  // bytes, else counts
};
std::string svg(const PairChart& chart);

// How much of a whole, as one bar of so many units of width. No text of its own.
std::string meter(double ratio, int width);

// Local: "3 Mar 2026, 14:05".
std::string date_and_time(std::int64_t time);

// The distance of the lines of a scale from 0 to `most`: three to six of them, at round values of
// bytes (powers of two) or of counts.
std::uint64_t scale_step(std::uint64_t most, bool sizes);

}  // namespace skep::cli
