// SPDX-License-Identifier: MIT
//
// The option table: every command and option of skep stands here, and nowhere else. The only file
// that sees CLI11, which is slow to compile.
#include <absl/synchronization/mutex.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control.h"
#include "output.h"
#include "run.h"
#include "skep/btrfs/filesystem_uuid.h"
#include "skep/btrfs/status.h"
#include "skep/index/table.h"
#include "skep/service/config.h"
#include "skep/service/exit_status.h"
#include "skep/service/sizes.h"
#include "status.h"
#include "table.h"

namespace skep::cli {
namespace {

// Throws when the text is no size, or not in [least, most].
std::uint64_t size_of(const std::string& name, const std::string& text, std::uint64_t least,
                      std::uint64_t most) {
  const auto size = service::parse_size(text);
  if (!size) {
    throw CLI::ValidationError(name, fmt::format("'{}' is no size; write 64K, 1G", text));
  }
  if (*size < least || *size > most) {
    throw CLI::ValidationError(
        name, fmt::format("{} is not between {} and {}", text, service::format_size(least),
                          service::format_size(most)));
  }
  return *size;
}

// A size option: "64K", "1G"; refused outside [least, most].
CLI::Option* add_size(CLI::App& app, const std::string& name, std::uint64_t& bytes,
                      std::uint64_t least, std::uint64_t most, const std::string& help) {
  return app
      .add_option_function<std::string>(
          name,
          [&bytes, name, least, most](const std::string& text) {
            bytes = size_of(name, text, least, most);
          },
          help)
      ->type_name("SIZE");
}

// An option with a few named values.
template <typename T>
void add_choice(CLI::App& app, const std::string& name, T& value,
                const std::vector<std::pair<std::string, T>>& choices, const std::string& help) {
  std::vector<std::string> names;
  names.reserve(choices.size());
  for (const auto& choice : choices) names.push_back(choice.first);
  const std::string type = fmt::format("{}", fmt::join(names, "|"));
  app.add_option_function<std::string>(
         name,
         [&value, choices, name, type](const std::string& text) {
           for (const auto& [of_choice, chosen] : choices) {
             if (text != of_choice) continue;
             value = chosen;
             return;
           }
           throw CLI::ValidationError(name, fmt::format("'{}' is not one of {}", text, type));
         },
         help)
      ->type_name(type);
}

void add_run(CLI::App& app, RunCommand& command) {
  auto& options = command.options.settings;
  app.add_flag("--once", command.once,
               "Make passes until one frees nothing more, then end (default: stay)");
  add_size(app, "--table-size", options.table_size_bytes, index::Table::kMinBytes,
           index::Table::kMaxBytes,
           "Size of the fingerprint table (default: by the data, 1M to 64M)");
  app.add_option("--state-dir", options.state_dir,
                 "Where table and state are kept (default: /var/lib/skep/UUID)")
      ->type_name("DIR");
  add_choice<dedupe::Depth>(app, "--depth", options.engine.depth,
                            {{"quick", dedupe::Depth::kQuick}, {"deep", dedupe::Depth::kDeep}},
                            "Compressed extents by checksums alone, or read too (default: deep)");
  add_choice<index::FingerprintKind>(
      app, "--fingerprint", options.fingerprint,
      {{"csum", index::FingerprintKind::kCsum}, {"data", index::FingerprintKind::kData}},
      "From the checksums, or from all data, read (default: csum)");
  app.add_flag("--nodatasum", options.engine.nodatasum,
               "Extents without checksums (NOCOW) too: read, shared among themselves");
  app.add_option("--threads", options.engine.threads, "Batches shared at a time")
      ->check(CLI::Range(1, 64))
      ->capture_default_str()
      ->type_name("N");
  add_size(app, "--min-run", options.engine.min_run_bytes, 0, 128ULL << 20,
           "Shortest stretch worth a fragment (default: 4K)");
  app.add_option("--max-copy-ratio", options.engine.max_copy_ratio,
                 "Most bytes copied for each byte freed")
      ->check(CLI::Range(0.0, 100.0))
      ->check([](const std::string& text) {
        return text.find_first_of("nN") == std::string::npos ? "" : text + " is no number";
      })
      ->capture_default_str()
      ->type_name("RATIO");
  app.add_flag("--json", command.json, "Print the summary as one JSON object");
  auto* quiet = app.add_flag("-q,--quiet", command.quiet, "Nothing on stderr but errors");
  app.add_flag("-v,--verbose", command.verbose,
               "Passes, extents left for a rare reason, and counters too")
      ->excludes(quiet);
  app.add_option("--run-dir", options.run_dir,
                 "Where status.json is kept, without --once (default: /run/skep/UUID)")
      ->type_name("DIR");
  app.add_option("--config-dir", command.config_dir,
                 "Where skep.conf and UUID.conf are (default: /etc/skep)")
      ->type_name("DIR");
  app.add_flag("--check-config", command.check_config,
               "Say whether the configuration is right, and end");
  app.add_option("MOUNT|UUID", command.options.target,
                 "Any mount point of the filesystem, or its UUID");
}

constexpr char kTableName[] = "MOUNT|UUID|FILE";

void check_table_name(const TableCommand& command) {
  if (!command.name.empty() || !command.state_dir.empty()) return;
  throw CLI::RequiredError(fmt::format("{} or --state-dir", kTableName));
}

CLI::App* add_table_command(CLI::App& app, TableCommand& command, const std::string& name,
                            TableCommand::Action action, const std::string& help) {
  CLI::App* sub = app.add_subcommand(name, help);
  sub->add_option(kTableName, command.name, "A mount point, the filesystem's UUID, or the file");
  sub->add_option("--state-dir", command.state_dir,
                  "Where the table is kept (default: /var/lib/skep/UUID)")
      ->type_name("DIR");
  if (action != TableCommand::Action::kResize) {
    sub->add_flag("--json", command.json, "Print the result as one JSON object");
  }
  sub->callback([&command, action] {
    command.action = action;
    check_table_name(command);
  });
  return sub;
}

void add_table(CLI::App& app, TableCommand& command) {
  using Action = TableCommand::Action;
  add_table_command(app, command, "show", Action::kShow, "Say what a table is, and how full");
  CLI::App* resize = add_table_command(app, command, "resize", Action::kResize,
                                       "Give a table another size, and keep what fits");
  resize->add_option("SIZE", command.size, "The new size, such as 64M");
  resize->callback([&command] {
    command.action = Action::kResize;
    // Beside a --state-dir the size may stand alone.
    if (command.size.empty()) command.size.swap(command.name);
    if (command.size.empty()) throw CLI::RequiredError("SIZE");
    command.size_bytes =
        size_of("SIZE", command.size, index::Table::kMinBytes, index::Table::kMaxBytes);
    check_table_name(command);
  });
  add_table_command(app, command, "check", Action::kCheck, "Look for damage in a table");
}

// Which instances are meant: of `skep status`, `skep pause` and `skep resume`.
template <typename Command>
void add_instances(CLI::App& app, Command& command) {
  app.add_option("MOUNT|UUID", command.name,
                 "A mount point, or the filesystem's UUID (default: all instances)");
  app.add_option("--run-dir", command.run_dir,
                 "Where an instance, or each, has its status (default: /run/skep)")
      ->type_name("DIR");
}

CLI::App* add_status(CLI::App& app, StatusCommand& command) {
  CLI::App* sub = app.add_subcommand("status", "Show what running instances do");
  add_instances(*sub, command);
  sub->add_flag("-w,--watch", command.watch, "Again each second, until Ctrl-C");
  sub->add_flag("--json", command.json, "As JSON");
  return sub;
}

CLI::App* add_control(CLI::App& app, ControlCommand& command, const std::string& name,
                      ControlCommand::Action action, const std::string& help) {
  CLI::App* sub = app.add_subcommand(name, help);
  add_instances(*sub, command);
  sub->callback([&command, action] { command.action = action; });
  return sub;
}

// " table show": the commands that were given, for messages.
std::string commands_of(const CLI::App& app) {
  const auto given = app.get_subcommands();
  if (given.empty()) return "";
  return " " + given.front()->get_name() + commands_of(*given.front());
}

// The command line: what each command was told, and which one was given.
struct Commands {
  RunCommand run;
  TableCommand table;
  StatusCommand status;
  ControlCommand control;
  CLI::App *run_app = nullptr, *table_app = nullptr, *status_app = nullptr, *pause_app = nullptr,
           *resume_app = nullptr;

  explicit Commands(CLI::App& app) {
    app.set_version_flag("--version", "skep " SKEP_VERSION);
    run_app = app.add_subcommand("run", "Deduplicate a mounted filesystem");
    add_run(*run_app, run);
    status_app = add_status(app, status);
    pause_app =
        add_control(app, control, "pause", ControlCommand::Action::kPause, "Let instances rest");
    resume_app =
        add_control(app, control, "resume", ControlCommand::Action::kResume, "Let them go on");
    table_app = app.add_subcommand("table", "Look after a table file");
    add_table(*table_app, table);
  }
};

int wrong_call(std::string_view message) { return fail(service::kExitUsage, message); }

std::optional<btrfs::Uuid> filesystem_of(const std::string& target) {
  if (const auto uuid = btrfs::parse_uuid(target)) return uuid;
  const auto found = target.empty() ? absl::NotFoundError("") : btrfs::filesystem_uuid(target);
  return found.ok() ? std::optional(*found) : std::nullopt;
}

// The configuration files, with the command line, which has been parsed before, over them.
absl::StatusOr<service::Settings> read_settings(int argc, char** argv, const RunCommand& command) {
  const auto filesystem = filesystem_of(command.options.target);
  auto settings =
      service::load_settings(command.config_dir.empty() ? service::kConfigDir : command.config_dir,
                             filesystem ? &*filesystem : nullptr);
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
  return merged;
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
    return wrong_call("MOUNT|UUID is required; see 'skep run --help'");
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
    return wrong_call(fmt::format("{}; see 'skep{} --help'", e.what(), commands_of(app)));
  }
  if (commands.table_app->parsed()) {
    if (!commands.table_app->get_subcommands().empty()) return table(commands.table);
    return wrong_call("table: show, resize or check is required; see 'skep table --help'");
  }
  if (commands.status_app->parsed()) return show_status(commands.status);
  if (commands.pause_app->parsed() || commands.resume_app->parsed()) {
    return control(commands.control);
  }
  if (!commands.run_app->parsed()) {
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
    return skep::cli::parse_and_run(argc, argv);
  } catch (const std::exception& e) {
    // The last stop: libraries throw when memory is out.
    fmt::print(stderr, "skep: {}\n", e.what());
    return skep::service::kExitFailed;
  }
}
