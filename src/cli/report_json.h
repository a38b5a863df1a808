// SPDX-License-Identifier: MIT
//
// A report for programs. Pure.
#pragma once

#include <string>

#include "skep/service/report.h"

namespace skep::cli {

// One JSON object; man/skep-report.1 describes the fields.
std::string report_json(const service::Report& report);

}  // namespace skep::cli
