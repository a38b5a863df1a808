// SPDX-License-Identifier: MIT
//
// A status as metrics for Prometheus, in its text format; man/skep-status.1 lists them. Bytes and
// seconds. Thread-compatible: one thread at a time writes the file of a filesystem.
#pragma once

#include <absl/status/status.h>

#include <string>

#include "skep/service/status.h"

namespace skep::service {

std::string metrics_text(const Status& status);

// Replaces skep-UUID.prom in node exporter's textfile directory, which must be there. The new file
// has another ending until it is whole, so node exporter never reads half a file.
absl::Status write_metrics(const std::string& dir, const Status& status);

}  // namespace skep::service
