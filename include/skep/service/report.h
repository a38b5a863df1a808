// SPDX-License-Identifier: MIT
//
// What `skep report` tells: the history of a filesystem, and how it is now as far as that can be
// seen from here. Gathered from the state directory, the run directory and, where the filesystem is
// mounted and the privileges are there, from its extent tree. Changes nothing. Plain values; the
// function is thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "skep/btrfs/types.h"
#include "skep/dedupe/size_classes.h"
#include "skep/index/table_file.h"
#include "skep/service/history.h"
#include "skep/service/instances.h"
#include "skep/service/refusal.h"
#include "skep/service/state_dir.h"

namespace skep::service {

struct Report {
  Refusal refusal;
  btrfs::Uuid filesystem{};
  std::string mount;      // empty: not mounted
  std::int64_t time = 0;  // of the report, seconds since 1970
  // Ends with a row of now, which has sizes where they could be counted. Never empty.
  History history;
  // Not there when it cannot be read; then the reason.
  std::optional<index::TableInfo> table;
  std::string no_table;
  std::optional<Instance> instance;
};

struct ReportOptions {
  std::string name;       // a mount point or a UUID
  std::string state_dir;  // empty: the filesystem's own
  std::string run_dir;    // as for find_instances()
};

Report gather_report(const ReportOptions& options);

// The rows that have sizes: the first and the last one; the same one, or null, where there are no
// two.
struct SizesThenAndNow {
  const HistoryRow* then = nullptr;
  const HistoryRow* now = nullptr;
};
SizesThenAndNow sizes_then_and_now(const History& history);

// Writes a page to a file, whole or not at all, for everybody to read whom the folder lets in.
// INVALID_ARGUMENT when the path names something that is no file; ALREADY_EXISTS when it names a
// file that does not begin with `mark`, unless it is forced.
absl::Status write_page(const std::string& path, std::string_view page, std::string_view mark,
                        bool force);

}  // namespace skep::service
