// SPDX-License-Identifier: MIT
#include "skep/service/suggestion.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace skep::service {
namespace {

// Names are half as long; the distance of longer ones takes time and means nothing.
constexpr std::size_t kMostLetters = 64;

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

}  // namespace

Suggestion::Suggestion(std::string_view given)
    : given_(lower_case(given)), nearest_(std::max<std::size_t>(given.size() / 3, 1) + 1) {}

void Suggestion::offer(std::string_view name, std::string_view spelt, std::size_t farther) {
  if (given_.size() > kMostLetters) return;
  const std::size_t distance = edit_distance(given_, spelt) + farther;
  if (distance >= nearest_) return;
  nearest_ = distance;
  name_ = name;
}

}  // namespace skep::service
