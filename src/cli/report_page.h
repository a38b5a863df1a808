// SPDX-License-Identifier: MIT
//
// The page of `skep report`: one HTML document that needs no other, neither script nor network, in
// the colour scheme of whoever looks at it. Pure, but for the time zone.
#pragma once

#include <string>
#include <string_view>

#include "skep/service/report.h"

namespace skep::cli {

// What each page begins with; by it a page is known.
inline constexpr std::string_view kPageMark = "<!DOCTYPE html>\n<!-- skep report -->\n";

std::string report_page(const service::Report& report);

}  // namespace skep::cli
