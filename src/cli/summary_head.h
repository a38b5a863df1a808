// SPDX-License-Identifier: MIT
//
// How the JSON of a run and of a scan begins: which filesystem, and how it ended. A pure function.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "skep/service/run_once.h"

namespace skep::cli {

// The fields "version", "filesystem", "mount", "result", and "stop_reason" where there is one.
nlohmann::ordered_json summary_head(const std::string& mount, const service::Summary& summary);

}  // namespace skep::cli
