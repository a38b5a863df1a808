// SPDX-License-Identifier: MIT
//
// What `skep estimate` and `skep tune` print. Pure functions.
#pragma once

#include <string>

#include "skep/service/estimate.h"
#include "skep/service/tune.h"

namespace skep::cli {

// With bars for a terminal.
std::string estimate_text(const std::string& mount, const service::Estimate& estimate,
                          bool terminal);
std::string estimate_json(const std::string& mount, const service::Estimate& estimate);
std::string tune_text(const std::string& mount, const service::Tuning& tuning, bool terminal);
std::string tune_json(const std::string& mount, const service::Tuning& tuning);

}  // namespace skep::cli
