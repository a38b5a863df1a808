// SPDX-License-Identifier: MIT
//
// Why an extent is left alone, in words. Pure.
#pragma once

#include "skep/dedupe/types.h"

namespace skep::cli {

// Empty for kFreed.
const char* explain(dedupe::Verdict verdict);

}  // namespace skep::cli
