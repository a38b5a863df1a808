// SPDX-License-Identifier: MIT
//
// The table of what configuration files may say. Thread-safe: made once, then only read.
#pragma once

#include <absl/status/status.h>
#include <toml++/toml.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "skep/service/config.h"
#include "skep/service/settings.h"

namespace skep::service {

// A row: what the documents say, and what can be done with the field of Settings that it stands
// for.
struct OptionRow {
  ConfigOption option;
  // What is wrong with the value, without the place, when it is not set.
  std::function<absl::Status(const toml::node&, Settings&)> set;
  std::function<bool(const Settings&, const Settings&)> equal;
  std::function<void(const Settings& from, Settings& to)> copy;

  std::string_view section() const {
    return std::string_view(option.name).substr(0, option.name.find('.'));
  }
  std::string_view key() const {
    return std::string_view(option.name).substr(option.name.find('.') + 1);
  }
};

// Options of a section stand together.
const std::vector<OptionRow>& option_table();

}  // namespace skep::service
