// SPDX-License-Identifier: MIT
#include "chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <ctime>
#include <iterator>

#include "html.h"
#include "skep/service/sizes.h"
#include "text.h"

namespace skep::cli {
namespace {

// In units of the drawing; the page scales it.
constexpr int kWidth = 720, kHeight = 240;
constexpr int kLeft = 72, kRight = 16, kTop = 14, kBottom = 30;
constexpr int kInner = kWidth - kLeft - kRight, kBase = kHeight - kBottom;
constexpr std::int64_t kMinute = 60, kHour = 60 * kMinute, kDay = 24 * kHour;

std::string local(std::int64_t time, const char* format) {
  const auto t = static_cast<std::time_t>(time);
  struct tm parts {};
  char text[64];
  localtime_r(&t, &parts);
  return {text, std::strftime(text, sizeof text, format, &parts)};
}

// As on a scale: "8 MiB", not "8.0 MiB".
std::string round_text(std::uint64_t value, bool sizes) {
  if (!sizes) return grouped(value);
  std::string out = service::format_size(value);
  if (const auto at = out.find(".0 "); at != std::string::npos) out.erase(at, 2);
  return out;
}

std::string value_text(std::uint64_t value, bool sizes) {
  return sizes ? service::format_size(value) : grouped(value);
}

std::string head(const std::string& id, const std::string& title, const std::string& description) {
  return fmt::format(
      "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"{}-t {}-d\">"
      "<title id=\"{}-t\">{}</title><desc id=\"{}-d\">{}</desc>\n",
      kWidth, kHeight, id, id, id, html(title), id, html(description));
}

// From 0 at the bottom to a round value at the top.
class Scale {
 public:
  Scale(std::uint64_t most, bool sizes)
      : sizes_(sizes), step_(scale_step(most, sizes)), top_((most + step_ - 1) / step_ * step_) {
    top_ = std::max(top_, step_);
  }
  double y(std::uint64_t value) const {
    return kBase - static_cast<double>(value) / static_cast<double>(top_) * (kBase - kTop);
  }
  std::string lines() const {
    std::string out;
    for (std::uint64_t value = 0; value <= top_; value += step_) {
      out += fmt::format(
          "<line class=\"{}\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>"
          "<text class=\"tick\" x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n",
          value == 0 ? "base" : "grid", kLeft, kWidth - kRight, y(value), y(value), kLeft - 8,
          y(value) + 4, value == 0 ? "0" : round_text(value, sizes_));
    }
    return out;
  }

 private:
  const bool sizes_;
  const std::uint64_t step_;
  std::uint64_t top_;
};

// Of the times of a chart; never of no length.
class TimeAxis {
 public:
  TimeAxis(std::int64_t first, std::int64_t last) : last_(last) {
    first_ = std::min(first, last - kMinute);
    first_ -= (last - first_) / 40;  // a rise at once is seen beside the edge
  }
  double x(std::int64_t time) const {
    return kLeft +
           static_cast<double>(time - first_) / static_cast<double>(last_ - first_) * kInner;
  }
  std::string ticks() const {
    const std::int64_t step = this->step();
    std::string out;
    for (std::int64_t t = (first_ + offset() + step - 1) / step * step - offset(); t <= last_;
         t += step) {
      // Without room for its text beyond the edge.
      const char* anchor = x(t) > kWidth - kRight - 30 ? "end"
                           : x(t) < kLeft + 30         ? "start"
                                                       : "middle";
      out +=
          fmt::format("<text class=\"tick\" x=\"{:.1f}\" y=\"{}\" text-anchor=\"{}\">{}</text>\n",
                      x(t), kBase + 20, anchor,
                      local(t, step < kDay        ? "%H:%M"
                               : step < 60 * kDay ? "%-d %b"
                                                  : "%b %Y"));
    }
    return out;
  }

 private:
  std::int64_t step() const {
    constexpr std::int64_t kSteps[] = {10,        kMinute,    5 * kMinute, 15 * kMinute, kHour,
                                       3 * kHour, 12 * kHour, kDay,        2 * kDay,     7 * kDay,
                                       14 * kDay, 30 * kDay,  91 * kDay,   182 * kDay};
    for (const std::int64_t step : kSteps) {
      if ((last_ - first_) / step <= 6) return step;
    }
    return (last_ - first_) / 6 / (365 * kDay) * 365 * kDay + 365 * kDay;
  }
  // Local time less UTC, so that days begin at midnight.
  std::int64_t offset() const {
    const auto t = static_cast<std::time_t>(first_);
    struct tm parts {};
    localtime_r(&t, &parts);
    return parts.tm_gmtoff;
  }

  std::int64_t first_ = 0;
  const std::int64_t last_;
};

std::uint64_t most_of(const TimeChart& chart) {
  std::uint64_t out = 0;
  for (const TimePoint& point : chart.points) out = std::max(out, point.bytes);
  return out;
}

// The line in steps, as a path.
std::string steps(const TimeChart& chart, const TimeAxis& axis, const Scale& scale) {
  std::string out;
  double before = 0;
  for (const TimePoint& point : chart.points) {
    const double x = axis.x(point.time), y = scale.y(point.bytes);
    out += out.empty() ? fmt::format("M{:.1f} {:.1f}", x, y)
                       : fmt::format("L{:.1f} {:.1f}L{:.1f} {:.1f}", x, before, x, y);
    before = y;
  }
  return out;
}

// An unseen bar over each point, which tells its figures to a mouse.
std::string hits(const TimeChart& chart, const TimeAxis& axis) {
  std::string out;
  for (std::size_t i = 0; i < chart.points.size(); ++i) {
    const TimePoint& point = chart.points[i];
    const double x = axis.x(point.time);
    const double end = i + 1 < chart.points.size() ? axis.x(chart.points[i + 1].time) : x;
    out += fmt::format(
        "<rect class=\"hit\" x=\"{:.1f}\" y=\"{}\" width=\"{:.1f}\" height=\"{}\">"
        "<title>{}: {}</title></rect>\n",
        x - 2, kTop, std::max(end - x, 4.0), kBase - kTop, date_and_time(point.time),
        service::format_size(point.bytes));
  }
  return out;
}

// Square at the base, a little round at the other end.
std::string bar(const char* kind, double x, double width, double y, const std::string& title) {
  if (kBase - y < 0.05) return "";
  const double r = std::min(3.0, kBase - y);
  return fmt::format(
      "<path class=\"{}\" d=\"M{:.1f} {}V{:.1f}Q{:.1f} {:.1f} {:.1f} {:.1f}H{:.1f}Q{:.1f} {:.1f} "
      "{:.1f} {:.1f}V{}Z\"><title>{}</title></path>\n",
      kind, x, kBase, y + r, x, y, x + r, y, x + width - r, x + width, y, x + width, y + r, kBase,
      html(title));
}

}  // namespace

std::string date_and_time(std::int64_t time) { return local(time, "%-d %b %Y, %H:%M"); }

std::uint64_t scale_step(std::uint64_t most, bool sizes) {
  if (sizes) return std::bit_ceil(std::max<std::uint64_t>(most, 4)) / 4;
  constexpr std::uint64_t kRound[] = {1, 2, 5};
  for (std::uint64_t power = 1;; power *= 10) {
    for (const std::uint64_t round : kRound) {
      if (most / (round * power) < 5 || power > most) return round * power;
    }
  }
}

std::string svg(const TimeChart& chart) {
  const TimeAxis axis(chart.points.front().time, chart.points.back().time);
  const Scale scale(most_of(chart), true);
  const TimePoint& last = chart.points.back();
  const std::string path = steps(chart, axis, scale);
  std::string out = head(chart.id, chart.title, chart.description) + scale.lines() + axis.ticks();
  out +=
      fmt::format("<path class=\"area\" d=\"{}V{}H{:.1f}Z\"/>\n<path class=\"line\" d=\"{}\"/>\n",
                  path, kBase, axis.x(chart.points.front().time), path);
  out += fmt::format("<circle class=\"dot\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"/>\n",
                     axis.x(last.time), scale.y(last.bytes));
  return out + hits(chart, axis) + "</svg>\n";
}

std::string svg(const PairChart& chart) {
  std::uint64_t most = 0;
  for (const auto& pair : chart.pairs) most = std::max({most, pair.then, pair.now});
  const Scale scale(most, chart.sizes);
  std::string out = head(chart.id, chart.title, chart.description) + scale.lines();
  const double slot = static_cast<double>(kInner) / static_cast<double>(chart.pairs.size());
  const double width = std::min(slot / 2 - 3, 22.0);
  for (std::size_t i = 0; i < chart.pairs.size(); ++i) {
    const auto& pair = chart.pairs[i];
    const double middle = kLeft + slot * (static_cast<double>(i) + 0.5);
    const auto title = [&](const std::string& when, std::uint64_t value) {
      return fmt::format("{}, {}: {}", pair.label, when, value_text(value, chart.sizes));
    };
    out += bar("then", middle - width - 1, width, scale.y(pair.then), title(chart.then, pair.then));
    out += bar("now", middle + 1, width, scale.y(pair.now), title(chart.now, pair.now));
    out +=
        fmt::format("<text class=\"tick\" x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
                    middle, kBase + 20, html(pair.label));
  }
  return out + "</svg>\n";
}

std::string meter(double ratio, int width) {
  const double full = std::clamp(ratio, 0.0, 1.0) * width;
  return fmt::format(
      "<svg class=\"meter\" viewBox=\"0 0 {} 10\" preserveAspectRatio=\"none\" "
      "aria-hidden=\"true\">"
      "<rect class=\"track\" width=\"{}\" height=\"10\" rx=\"3\"/>"
      "<rect class=\"now\" width=\"{:.1f}\" height=\"10\" rx=\"3\"/></svg>",
      width, width, ratio > 0 ? std::max(full, 2.0) : 0.0);
}

}  // namespace skep::cli
