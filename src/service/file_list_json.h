// SPDX-License-Identifier: MIT
//
// The JSON among the formats of file_list.h. Pure functions, thread-safe.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>

#include "skep/service/file_list.h"

namespace skep::service {

// Which program's it looks like, by the members that only one of them has.
ListFormat json_flavour(std::string_view text);

// `format` is one of those that can be JSON.
absl::StatusOr<FileList> parse_json_list(std::string_view text, ListFormat format);

// STFU-8: \\, \n, \t, \r, \xHH for a byte, \uHHHHHH for a character. Empty for what is none.
std::string decode_stfu8(std::string_view text);

// The name as it is, or below the base directory.
std::string below(const std::string& base, std::string name);

}  // namespace skep::service
