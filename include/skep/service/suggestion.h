// SPDX-License-Identifier: MIT
//
// The nearest of some names to one that was given, for messages: "did you mean ...?" Letters that
// have to be put in, taken out or replaced are counted, whatever their case; a third of them may be
// wrong, and one in the shortest names. Thread-compatible.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace skep::service {

class Suggestion {
 public:
  explicit Suggestion(std::string_view given);
  // `spelt` is what is compared, `name` what is suggested then: borrowed. `farther` counts as wrong
  // letters.
  void offer(std::string_view name, std::string_view spelt, std::size_t farther = 0);
  // Whether that was given.
  bool is(std::string_view name) const { return given_ == name; }
  // Empty when none is near.
  std::string_view name() const { return name_; }

 private:
  const std::string given_;  // in lower case
  std::size_t nearest_;
  std::string_view name_;
};

}  // namespace skep::service
