// SPDX-License-Identifier: MIT
#include "skep/service/json_text.h"

#include <nlohmann/json.hpp>

namespace skep::service {

using nlohmann::ordered_json;

std::string json_line(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

std::string json_document(const ordered_json& json) {
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace skep::service
