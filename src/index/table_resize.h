// SPDX-License-Identifier: MIT
//
// Moves a table's cells to a file of another size. man/skep-state.5, "Resizing".
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>

#include "table_map.h"

namespace skep::index {

// `old` is what `path` names; `path`.new is made, flushed, and renamed over it. The result is the
// new file, locked. Where this fails, `path` is as it was.
absl::StatusOr<TableMap> resized(const std::string& path, const TableMap& old,
                                 std::uint64_t buckets);

}  // namespace skep::index
