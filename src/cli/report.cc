// SPDX-License-Identifier: MIT
#include "report.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "output.h"
#include "report_json.h"
#include "report_page.h"
#include "skep/btrfs/status.h"
#include "skep/service/exit_status.h"

namespace skep::cli {
namespace {

int write_to_file(const ReportCommand& command, const service::Report& report) {
  const auto status =
      service::write_page(command.output, report_page(report), kPageMark, command.force);
  if (status.ok()) return service::kExitDone;
  const int error = errno_of(status);
  const bool wrong_place = absl::IsInvalidArgument(status) || absl::IsAlreadyExists(status) ||
                           error == ENOENT || error == ENOTDIR;
  return fail(wrong_place ? service::kExitUsage : service::kExitFailed, message_of(status));
}

}  // namespace

int report(const ReportCommand& command) {
  const bool to_terminal = command.output.empty() && !command.json && isatty(STDOUT_FILENO) == 1;
  if (to_terminal) {
    return fail(service::kExitUsage,
                "report: a page is nothing for a terminal; name a file with -o, or take --json");
  }
  const service::Report found = service::gather_report(command.options);
  if (found.refusal.exit_status != 0) {
    return fail(found.refusal.exit_status, found.refusal.message);
  }
  if (command.json) return print(report_json(found), service::kExitDone);
  if (command.output.empty()) return print(report_page(found), service::kExitDone);
  return write_to_file(command, found);
}

}  // namespace skep::cli
