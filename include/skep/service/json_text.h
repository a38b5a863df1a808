// SPDX-License-Identifier: MIT
//
// JSON as skep prints it. JSON has only UTF-8, names on a filesystem are any bytes: what is no
// UTF-8 is printed as U+FFFD. Pure functions, thread-safe.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace skep::service {

// On one line, without its end.
std::string json_line(const nlohmann::ordered_json& json);
// Indented, for people too; ends with a newline.
std::string json_document(const nlohmann::ordered_json& json);

}  // namespace skep::service
