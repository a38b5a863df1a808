// SPDX-License-Identifier: MIT
//
// What a run did, for a person and for a program. Pure functions.
#pragma once

#include <string>

#include "skep/service/run_once.h"

namespace skep::cli {

std::string summary_text(const std::string& mount, const service::Summary& summary,
                         const dedupe::Counters& counters);
// One JSON object; man/skep-run.1 describes the fields.
std::string summary_json(const std::string& mount, const service::Summary& summary,
                         const dedupe::Counters& counters);

}  // namespace skep::cli
