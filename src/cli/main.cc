// SPDX-License-Identifier: MIT
//
// Reads the command line, and calls the command it names. Only this file, the option table and what
// tells it as data see CLI11, which is slow to compile.
#include <absl/synchronization/mutex.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "command_tree.h"
#include "log.h"
#include "option_table.h"
#include "output.h"
#include "skep/btrfs/filesystem_uuid.h"
#include "skep/btrfs/status.h"
#include "skep/service/config.h"
#include "skep/service/exit_status.h"
#include "skep/service/suggestion.h"

namespace skep::cli {
namespace {

// " table show": the commands that were given, for messages.
std::string commands_of(const CLI::App& app) {
  const auto given = app.get_subcommands();
  if (given.empty()) return "";
  return " " + given.front()->get_name() + commands_of(*given.front());
}

// "'estimat' is no command; did you mean 'estimate'?" Empty when a command was given.
std::string no_command(const CLI::App& app, int argc, char** argv) {
  const std::string_view given = argc > 1 ? argv[1] : "";
  if (given.empty() || given[0] == '-') return "";
  service::Suggestion suggestion(given);
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->check_name(std::string(given))) return "";
    suggestion.offer(command->get_name(), command->get_name());
  }
  return fmt::format("'{}' is no command{}", given,
                     suggestion.name().empty()
                         ? "; see 'skep --help'"
                         : fmt::format("; did you mean '{}'?", suggestion.name()));
}

int wrong_call(std::string_view message) { return fail(service::kExitUsage, message); }

std::optional<btrfs::Uuid> filesystem_of(const std::string& target) {
  if (const auto uuid = btrfs::parse_uuid(target)) return uuid;
  const auto found = target.empty() ? absl::NotFoundError("") : btrfs::filesystem_uuid(target);
  return found.ok() ? std::optional(*found) : std::nullopt;
}

// The configuration files alone.
absl::StatusOr<service::Settings> read_files(const std::string& config_dir,
                                             const std::string& target) {
  const auto filesystem = filesystem_of(target);
  return service::load_settings(config_dir.empty() ? service::kConfigDir : config_dir,
                                filesystem ? &*filesystem : nullptr);
}

absl::Status check_limits(const service::Settings& settings) {
  for (const auto& [limits, of] : {std::pair(settings.engine.filter.file_bytes, "file"),
                                   std::pair(settings.engine.filter.extent_bytes, "extent")}) {
    if (limits.consistent()) continue;
    return absl::InvalidArgumentError(
        fmt::format("--min-{0}-size is above --max-{0}-size: that leaves nothing", of));
  }
  return absl::OkStatus();
}

// The configuration files, with the command line, which has been parsed before, over them.
absl::StatusOr<service::Settings> read_settings(int argc, char** argv, const RunCommand& command) {
  auto settings = read_files(command.config_dir, command.options.target);
  if (!settings.ok()) return settings;
  CLI::App app;
  Commands commands(app);
  commands.run.options.settings = *settings;
  app.parse(argc, argv);
  const auto& merged = commands.run.options.settings;
  if (merged.engine.depth == dedupe::Depth::kQuick &&
      (merged.engine.nodatasum || merged.fingerprint == index::FingerprintKind::kData)) {
    return absl::InvalidArgumentError(
        fmt::format("--depth quick reads nothing: not with {}",
                    merged.engine.nodatasum ? "--nodatasum" : "--fingerprint data"));
  }
  if (auto status = check_limits(merged); !status.ok()) return status;
  return merged;
}

// The same for those who only look: what a run would do with these files.
int look(int argc, char** argv, const LookCommand& command, LookCommand Commands::*which,
         int (*show)(const LookCommand&)) {
  const auto settings = read_files(command.config_dir, command.options.target);
  if (!settings.ok()) return wrong_call(std::string(message_of(settings.status())));
  CLI::App app;
  Commands commands(app);
  (commands.*which).options.settings = *settings;
  app.parse(argc, argv);
  const LookCommand& merged = commands.*which;
  if (auto status = check_limits(merged.options.settings); !status.ok()) {
    return wrong_call(std::string(message_of(status)));
  }
  return show(merged);
}

int check_config(const service::Settings& settings) {
  std::vector<std::string> names;
  for (const auto& option : service::changed_options({}, settings)) names.push_back(option.name);
  fmt::print("the configuration is right; {}\n",
             names.empty() ? "all as by default"
                           : fmt::format("not as by default: {}", fmt::join(names, ", ")));
  return service::kExitDone;
}

int start_run(int argc, char** argv, RunCommand& command) {
  if (command.options.target.empty() && !command.check_config) {
    return wrong_call(fmt::format("MOUNT|UUID is required; see 'skep {} --help'",
                                  command.options.scan_only ? "scan" : "run"));
  }
  if (command.options.gentle && !command.once) {
    return wrong_call("--gentle goes with --once; without, skep always keeps to its limits");
  }
  const auto settings = [argc, argv, &command] { return read_settings(argc, argv, command); };
  auto merged = settings();
  if (!merged.ok()) return wrong_call(std::string(message_of(merged.status())));
  if (command.check_config) return check_config(*merged);
  command.options.settings = *merged;
  return run(command, settings);
}

int parse_and_run(int argc, char** argv) {
  CLI::App app(
      "skep finds blocks that a btrfs filesystem stores more than once, and makes the "
      "files share one copy.",
      "skep");
  Commands commands(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {  // --help, --version
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    if (const std::string message = no_command(app, argc, argv); !message.empty()) {
      return wrong_call(message);
    }
    return wrong_call(fmt::format("{}; see 'skep{} --help'", e.what(), commands_of(app)));
  }
  if (commands.table_app->parsed()) {
    if (!commands.table_app->get_subcommands().empty()) return table(commands.table);
    return wrong_call("table: show, resize or check is required; see 'skep table --help'");
  }
  if (commands.dedupe_files_app->parsed()) return dedupe_files(commands.dedupe_files);
  if (commands.completion_app->parsed()) {
    return print_completion(commands.completion, command_tree(app));
  }
  if (commands.status_app->parsed()) return show_status(commands.status);
  if (commands.report_app->parsed()) return report(commands.report);
  if (commands.explain_app->parsed()) return explain_file(commands.explain);
  if (commands.pause_app->parsed() || commands.resume_app->parsed()) {
    return control(commands.control);
  }
  if (commands.find_new_app->parsed()) return find_new(commands.find_new);
  if (commands.import_beesd_app->parsed()) return import_beesd(commands.import_beesd);
  if (commands.estimate_app->parsed()) {
    return look(argc, argv, commands.estimate, &Commands::estimate, estimate);
  }
  if (commands.tune_app->parsed()) return look(argc, argv, commands.tune, &Commands::tune, tune);
  if (!commands.run_app->parsed() && !commands.dedup_vol_app->parsed() &&
      !commands.scan_app->parsed()) {
    return wrong_call("a command is required; see 'skep --help'");
  }
  return start_run(argc, argv, commands.run);
}

}  // namespace
}  // namespace skep::cli

int main(int argc, char** argv) {
  // Debian's Abseil checks lock order at run time: 2 % of a run. ThreadSanitizer does it in tests.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  try {
    skep::cli::set_up_log();
    return skep::cli::parse_and_run(argc, argv);
  } catch (const std::exception& e) {
    // The last stop: libraries throw when memory is out.
    fmt::print(stderr, "skep: {}\n", e.what());
    return skep::service::kExitFailed;
  }
}
