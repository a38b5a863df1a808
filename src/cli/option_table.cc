// SPDX-License-Identifier: MIT
#include "option_table.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdint>
#include <limits>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "command_tree.h"
#include "help.h"
#include "skep/btrfs/status.h"
#include "skep/index/table.h"
#include "skep/service/sizes.h"

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
CLI::Option* add_choice(CLI::App& app, const std::string& name, T& value,
                        const std::vector<std::pair<std::string, T>>& choices,
                        const std::string& help) {
  std::vector<std::string> names;
  names.reserve(choices.size());
  for (const auto& choice : choices) names.push_back(choice.first);
  const std::string type = fmt::format("{}", fmt::join(names, "|"));
  return app
      .add_option_function<std::string>(
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

// May be given several times; adds to what the configuration files name.
CLI::Option* add_patterns(CLI::App& app, const std::string& name, std::vector<dedupe::Glob>& globs,
                          dedupe::Glob::Of of, const std::string& help) {
  return app
      .add_option_function<std::vector<std::string>>(
          name,
          [&globs, name, of](const std::vector<std::string>& texts) {
            for (const auto& text : texts) {
              auto glob = dedupe::Glob::parse(text, of);
              if (!glob.ok()) {
                throw CLI::ValidationError(name, std::string(message_of(glob.status())));
              }
              globs.push_back(*std::move(glob));
            }
          },
          help)
      ->allow_extra_args(false)  // what follows is the next argument
      ->type_name("PATTERN");
}

void add_filter(CLI::App& app, dedupe::FilterOptions& filter) {
  using Of = dedupe::Glob::Of;
  constexpr std::uint64_t kAnySize = std::numeric_limits<std::uint64_t>::max();
  constexpr char kGroup[] = "What is left out (patterns may be given several times)";
  add_patterns(app, "--include-subvol", filter.include_subvolumes, Of::kSubvolume,
               "Only these subvolumes, with those nested in them")
      ->group(kGroup);
  add_patterns(app, "--exclude-subvol", filter.exclude_subvolumes, Of::kSubvolume,
               "Not these subvolumes, with those nested in them")
      ->group(kGroup);
  app.add_flag("--read-only-subvols,!--no-read-only-subvols", filter.read_only_subvolumes,
               "Read-only subvolumes too (default), or not")
      ->group(kGroup);
  add_patterns(app, "--include", filter.include_paths, Of::kPath,
               "Only files and folders that match, as in .gitignore")
      ->group(kGroup);
  add_patterns(app, "--exclude", filter.exclude_paths, Of::kPath,
               "Not files and folders that match")
      ->group(kGroup);
  add_size(app, "--min-file-size", filter.file_bytes.least, 0, kAnySize,
           "Not files that are smaller")
      ->group(kGroup);
  add_size(app, "--max-file-size", filter.file_bytes.most, 0, kAnySize, "Not files that are larger")
      ->group(kGroup);
  add_size(app, "--min-extent-size", filter.extent_bytes.least, 0, kAnySize,
           "Not extents that are smaller on disk")
      ->group(kGroup);
  add_size(app, "--max-extent-size", filter.extent_bytes.most, 0, kAnySize,
           "Not extents that are larger on disk")
      ->group(kGroup);
}

// Of `run` and `scan`: where the table is, and what stands in it.
void add_table_place(CLI::App& app, service::Settings& options) {
  add_size(app, "--table-size", options.table_size_bytes, index::Table::kMinBytes,
           index::Table::kMaxBytes,
           "Size of the fingerprint table (default: by the data, 1M to 64M)");
  app.add_option("--state-dir", options.state_dir,
                 "Has table and state (default: /var/lib/skep/UUID)")
      ->type_name("DIR");
  add_choice<index::FingerprintKind>(
      app, "--fingerprint", options.fingerprint,
      {{"csum", index::FingerprintKind::kCsum}, {"data", index::FingerprintKind::kData}},
      "From checksums, or all data, read (default: csum)");
}

// Of `run` and `scan`: how it tells what it does.
void add_telling(CLI::App& app, RunCommand& command) {
  app.add_flag("--json", command.json, "Print the summary as one JSON object");
  auto* quiet = app.add_flag("-q,--quiet", command.quiet, "Nothing on stderr but errors");
  app.add_flag("-v,--verbose", command.verbose,
               "Passes, extents left for a rare reason, and counters too")
      ->excludes(quiet);
}

void add_config_dir(CLI::App& app, RunCommand& command) {
  app.add_option("--config-dir", command.config_dir,
                 "Has skep.conf and UUID.conf (default: /etc/skep)")
      ->type_name("DIR");
}

void add_run(CLI::App& app, RunCommand& command) {
  auto& options = command.options.settings;
  app.add_flag("--once", command.once,
               "Make passes until one frees nothing more, then end (default: stay)");
  app.add_flag("--gentle", command.options.gentle,
               "With --once: keep to the limits of the configuration (default: none)");
  add_table_place(app, options);
  add_choice<dedupe::Depth>(app, "--depth", options.engine.depth,
                            {{"quick", dedupe::Depth::kQuick}, {"deep", dedupe::Depth::kDeep}},
                            "Compressed extents by checksums alone, or read too (default: deep)");
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
  add_telling(app, command);
  app.add_option("--run-dir", options.run_dir,
                 "Where status.json is kept, without --once (default: /run/skep/UUID)")
      ->type_name("DIR");
  add_config_dir(app, command);
  app.add_flag("--check-config", command.check_config,
               "Say whether the configuration is right, and end");
  app.add_option("MOUNT|UUID|SUBVOL", command.options.target,
                 "A mount point, the filesystem's UUID, or, with --once, a subvolume");
  add_filter(app, options.engine.filter);
}

// bedup's name for `run --once`. Not in the help: the manual tells of it.
CLI::App* add_dedup_vol(CLI::App& app, RunCommand& command) {
  CLI::App* sub = app.add_subcommand("dedup-vol", "The same as run --once")->group("");
  add_run(*sub, command);
  sub->callback([&command] { command.once = true; });
  return sub;
}

CLI::App* add_scan(CLI::App& app, RunCommand& command) {
  CLI::App* sub = app.add_subcommand("scan", "Fill the fingerprint table, and stop");
  sub->alias("scan-vol");
  sub->add_flag("--gentle", command.options.gentle,
                "Keep to the limits of the configuration (default: none)");
  add_table_place(*sub, command.options.settings);
  add_telling(*sub, command);
  add_config_dir(*sub, command);
  sub->add_option("MOUNT|UUID", command.options.target,
                  "Any mount point of the filesystem, or its UUID");
  sub->callback([&command] { command.once = command.options.scan_only = true; });
  return sub;
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

CLI::App* add_dedupe_files(CLI::App& app, DedupeFilesCommand& command) {
  using Format = service::ListFormat;
  CLI::App* sub = app.add_subcommand("dedupe-files", "Share the contents of files that are named");
  sub->alias("dedup-files");
  sub->add_option("FILE", command.files, "Files; those of equal content are shared");
  sub->add_option("--from", command.from, "A list of files, or of groups of them; - is stdin")
      ->type_name("LIST");
  add_choice<Format>(*sub, "--format", command.format,
                     {{"auto", Format::kAuto},
                      {"lines", Format::kLines},
                      {"nul", Format::kNul},
                      {"fdupes", Format::kFdupes},
                      {"jdupes", Format::kJdupes},
                      {"fclones", Format::kFclones},
                      {"rmlint", Format::kRmlint}},
                     "Of the list (default: by its look)");
  auto* blocks =
      sub->add_flag("--blocks", command.blocks, "Common blocks of files that are not equal, too");
  add_size(*sub, "--min-run", command.min_run_bytes, 0, 1ULL << 40,
           "With --blocks: shortest stretch worth a fragment (default: 4K)")
      ->needs(blocks);
  sub->add_flag("-n,--dry-run", command.dry_run, "Say what would be shared; change nothing");
  sub->add_flag("--json", command.json, "Print the result as one JSON object");
  sub->add_flag("-q,--quiet", command.quiet, "Print nothing but errors");
  return sub;
}

CLI::App* add_report(CLI::App& app, ReportCommand& command) {
  CLI::App* sub = app.add_subcommand("report", "Make a page of what it has saved");
  sub->add_option("MOUNT|UUID", command.options.name,
                  "A mount point, or the filesystem's UUID, mounted or not")
      ->required();
  auto* output = sub->add_option("-o,--output", command.output,
                                 "Write the page to this file (default: standard output)")
                     ->type_name("FILE");
  sub->add_flag("--force", command.force, "Also over a file that is no report")->needs(output);
  sub->add_flag("--json", command.json, "Print the figures as one JSON object")->excludes(output);
  sub->add_option("--state-dir", command.options.state_dir,
                  "Where the state is kept (default: /var/lib/skep/UUID)")
      ->type_name("DIR");
  sub->add_option("--run-dir", command.options.run_dir,
                  "Where an instance, or each, has its status (default: /run/skep)")
      ->type_name("DIR");
  return sub;
}

CLI::App* add_explain(CLI::App& app, ExplainCommand& command) {
  CLI::App* sub = app.add_subcommand("explain", "Tell what becomes of a file's extents, and why");
  sub->add_option("PATH", command.options.path, "The file")->required();
  sub->add_flag("--json", command.json, "Print the result as one JSON object");
  sub->add_option("--state-dir", command.options.state_dir,
                  "Where table and state are kept (default: /var/lib/skep/UUID)")
      ->type_name("DIR");
  sub->add_option("--config-dir", command.options.config_dir,
                  "Where skep.conf and UUID.conf are (default: /etc/skep)")
      ->type_name("DIR");
  return sub;
}

// Not in the help: it is for the build.
CLI::App* add_completion(CLI::App& app, CompletionCommand& command) {
  using Shell = CompletionCommand::Shell;
  CLI::App* sub = app.add_subcommand("completion", "Print a script for a shell")->group("");
  add_choice<Shell>(*sub, "bash|zsh|fish", command.shell,
                    {{"bash", Shell::kBash}, {"zsh", Shell::kZsh}, {"fish", Shell::kFish}},
                    "The shell")
      ->required();
  return sub;
}

// Decimal digits alone: CLI11 would take "0x10" and "1e3" as well.
std::uint64_t generation_of(const std::string& text) {
  std::uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [read, error] = std::from_chars(text.data(), end, number);
  if (error == std::errc() && read == end) return number;
  throw CLI::ValidationError("GENERATION", fmt::format("'{}' is no generation", text));
}

CLI::App* add_find_new(CLI::App& app, FindNewCommand& command) {
  CLI::App* sub = app.add_subcommand("find-new", "List what was written since a generation");
  sub->add_option("SUBVOL", command.subvolume, "The top folder of a subvolume")->required();
  sub->add_option_function<std::string>(
         "GENERATION",
         [&command](const std::string& text) { command.generation = generation_of(text); },
         "What is of this generation, or later, is listed")
      ->required();
  auto* json = sub->add_flag("--json", command.json, "Print the result as one JSON object");
  sub->add_flag("-0,--null", command.nul, "End lines with NUL")->excludes(json);
  return sub;
}

CLI::App* add_import_beesd(CLI::App& app, ImportBeesdCommand& command) {
  CLI::App* sub = app.add_subcommand("import-beesd", "Make a skep.conf from bees' configuration");
  sub->add_option("FILE", command.file, "A configuration of beesd, such as /etc/bees/UUID.conf")
      ->required();
  sub->add_option("-o,--output", command.output, "A new file to write (default: stdout)")
      ->type_name("FILE");
  return sub;
}

// Of `skep estimate` and `skep tune`.
CLI::App* add_look(CLI::App& app, LookCommand& command, const std::string& name,
                   const std::string& help) {
  CLI::App* sub = app.add_subcommand(name, help);
  sub->add_option("--sample", command.options.sample_percent,
                  "Look at so much of the filesystem (default: what takes some 10 s)")
      ->check(CLI::Range(0.01, 100.0))
      ->type_name("PERCENT");
  sub->add_flag("--json", command.json, "Print the result as one JSON object");
  sub->add_flag("-q,--quiet", command.quiet, "Nothing on stderr but errors");
  sub->add_option("--config-dir", command.config_dir,
                  "Where skep.conf and UUID.conf are (default: /etc/skep)")
      ->type_name("DIR");
  sub->add_option("MOUNT|UUID", command.options.target,
                  "Any mount point of the filesystem, or its UUID")
      ->required();
  add_filter(*sub, command.options.settings.engine.filter);
  return sub;
}

CLI::App* add_estimate(CLI::App& app, LookCommand& command) {
  CLI::App* sub = add_look(app, command, "estimate", "Say what a run would free; change nothing");
  add_size(*sub, "--table-size", command.options.settings.table_size_bytes, index::Table::kMinBytes,
           index::Table::kMaxBytes, "As for run (default: by the data, 1M to 64M)");
  return sub;
}

}  // namespace

Commands::Commands(CLI::App& app) {
  // Inherited by the commands that are added below.
  app.formatter_fn([](const CLI::App* of, const std::string& name, CLI::AppFormatMode) {
    return help_text(command_tree(*of), name);
  });
  app.set_version_flag("--version", "skep " SKEP_VERSION);
  run_app = app.add_subcommand("run", "Deduplicate a mounted filesystem");
  add_run(*run_app, run);
  dedup_vol_app = add_dedup_vol(app, run);
  scan_app = add_scan(app, run);
  estimate_app = add_estimate(app, estimate);
  tune_app = add_look(app, tune, "tune", "Say which table size a filesystem wants, and why");
  status_app = add_status(app, status);
  pause_app =
      add_control(app, control, "pause", ControlCommand::Action::kPause, "Let instances rest");
  resume_app =
      add_control(app, control, "resume", ControlCommand::Action::kResume, "Let them go on");
  report_app = add_report(app, report);
  explain_app = add_explain(app, explain);
  table_app = app.add_subcommand("table", "Look after a table file");
  add_table(*table_app, table);
  dedupe_files_app = add_dedupe_files(app, dedupe_files);
  completion_app = add_completion(app, completion);
  find_new_app = add_find_new(app, find_new);
  import_beesd_app = add_import_beesd(app, import_beesd);
}

}  // namespace skep::cli
