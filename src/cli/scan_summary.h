// SPDX-License-Identifier: MIT
//
// What a scan did, for a person and for a program. Pure functions.
#pragma once

#include <string>

#include "skep/service/run_once.h"

namespace skep::cli {

std::string scan_text(const std::string& mount, const service::Summary& summary,
                      const dedupe::Counters& counters);
// One JSON object; man/skep-scan.1 describes the fields.
std::string scan_json(const std::string& mount, const service::Summary& summary,
                      const dedupe::Counters& counters);

}  // namespace skep::cli
