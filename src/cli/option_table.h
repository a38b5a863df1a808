// SPDX-License-Identifier: MIT
//
// The option table: every command and option of skep, and what was told to each.
#pragma once

#include <string>

#include "completion.h"
#include "control.h"
#include "dedupe_files.h"
#include "estimate.h"
#include "explain.h"
#include "find_new.h"
#include "import_beesd.h"
#include "report.h"
#include "run.h"
#include "status.h"
#include "table.h"

namespace CLI {
class App;
}

namespace skep::cli {

// What each command was told, and which one was given. Fills itself when the app parses.
struct Commands {
  RunCommand run;
  TableCommand table;
  StatusCommand status;
  ControlCommand control;
  LookCommand estimate, tune;
  CompletionCommand completion;
  FindNewCommand find_new;
  ImportBeesdCommand import_beesd;
  DedupeFilesCommand dedupe_files;
  ReportCommand report;
  ExplainCommand explain;
  CLI::App *run_app = nullptr, *table_app = nullptr, *status_app = nullptr, *pause_app = nullptr,
           *resume_app = nullptr;
  CLI::App* dedupe_files_app = nullptr;
  CLI::App* report_app = nullptr;
  CLI::App* explain_app = nullptr;
  CLI::App* completion_app = nullptr;
  CLI::App* find_new_app = nullptr;
  CLI::App* dedup_vol_app = nullptr;
  CLI::App* scan_app = nullptr;
  CLI::App* import_beesd_app = nullptr;
  CLI::App* estimate_app = nullptr;
  CLI::App* tune_app = nullptr;

  // Adds the commands to the app, which must not outlive them.
  explicit Commands(CLI::App& app);
};

}  // namespace skep::cli
