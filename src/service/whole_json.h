// SPDX-License-Identifier: MIT
//
// JSON as skep itself writes it: all numbers are whole. Functions; nothing is shared.
#pragma once

#include <nlohmann/json.hpp>
#include <utility>

namespace skep::service {

// Throws nlohmann's exceptions on what is no JSON, or has a number that is not whole or takes more
// than 64 bits: the library would cast it to an integer, which is undefined where it does not fit.
template <typename Json, typename Input>
Json parse_whole_json(Input&& input) {
  return Json::parse(
      std::forward<Input>(input), [](int, typename Json::parse_event_t, Json& value) {
        if (value.is_number_float()) {
          throw Json::other_error::create(501, "a number that is not whole", nullptr);
        }
        return true;
      });
}

}  // namespace skep::service
