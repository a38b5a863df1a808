// SPDX-License-Identifier: MIT
#include "estimate_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "bars.h"
#include "skep/service/json_text.h"
#include "skep/service/sizes.h"
#include "text.h"

namespace skep::cli {
namespace {

using nlohmann::ordered_json;
using service::Estimate;
using service::format_duration;
using service::format_size;
using service::TriedTable;
using service::Tuning;

constexpr int kBarCells = 24;
// Of subvolumes and of folders; the JSON has all.
constexpr std::size_t kPlacesShown = 10;

// "64K", "4M": as options and the configuration take it.
std::string size_option(std::uint64_t bytes) {
  constexpr std::pair<int, char> kUnits[] = {{40, 'T'}, {30, 'G'}, {20, 'M'}, {10, 'K'}};
  for (const auto& [shift, unit] : kUnits) {
    const std::uint64_t size = 1ULL << shift;
    if (bytes >= size && bytes % size == 0) return fmt::format("{}{}", bytes >> shift, unit);
  }
  return std::to_string(bytes);
}

std::string how_well(std::uint64_t one_in, std::uint64_t margin_bytes) {
  if (one_in == 1) return "";
  return fmt::format(", ± {} (95 of 100 times)", format_size(margin_bytes));
}

std::string how_much(std::uint64_t one_in) {
  if (one_in == 1) return "";
  return fmt::format("; of those below 512 KiB one in {}", grouped(one_in));
}

// An estimate, line by line.
class EstimateText {
 public:
  EstimateText(const std::string& mount, const Estimate& estimate, bool terminal)
      : mount_(mount), e_(estimate), g_(estimate.gains), terminal_(terminal) {}

  std::string take() {
    head();
    kinds();
    places("by subvolume", g_.subvolumes);
    places("by top-level folder", g_.folders);
    cost();
    rest();
    table();
    return out_;
  }

 private:
  void line(std::string_view name, std::uint64_t bytes, const std::string& note) {
    out_ += fmt::format("  {:<14} {:>9}  {}\n", name, format_size(bytes), note);
  }
  std::string bar(std::uint64_t bytes) const {
    if (!terminal_) return "";
    // Characters, not bytes: padded by hand.
    const double share = share_of(bytes, g_.freed_bytes);
    const std::string filled = solid_bar(share, kBarCells);
    const auto width = static_cast<std::size_t>(
        std::count_if(filled.begin(), filled.end(), [](char c) { return (c & 0xc0) != 0x80; }));
    return filled + std::string(kBarCells - std::min<std::size_t>(kBarCells, width), ' ') + "  ";
  }
  void head() {
    out_ +=
        fmt::format("{}: {} would be freed, {:.1f} % of {}{}\n", mount_,
                    format_size(g_.freed_bytes), 100 * share_of(g_.freed_bytes, e_.survey.bytes),
                    format_size(e_.survey.bytes), how_well(e_.one_in, g_.margin_bytes));
    line("looked at", e_.looked_bytes,
         fmt::format("in {}{}; {}, no data read, nothing changed",
                     plural(e_.looked_extents, "extent"), how_much(e_.one_in),
                     format_duration(e_.seconds)));
  }
  void kinds() {
    line("whole extents", g_.whole_bytes,
         bar(g_.whole_bytes) + "all of it is stored elsewhere, zeros, or unused");
    line("partial", g_.part_bytes, bar(g_.part_bytes) + "after the rest of the extents is copied");
    line("zeros", g_.zero_bytes, bar(g_.zero_bytes) + "of both: become holes");
    line("unused", g_.unused_bytes,
         bar(g_.unused_bytes) + "of both: parts of extents that no file refers to");
    line("already shared", e_.survey.saved_bytes,
         fmt::format("saved by extents with several references, {} (snapshots not counted)",
                     format_size(e_.survey.shared_bytes)));
  }
  void places(std::string_view title, const std::vector<dedupe::PlaceGain>& places) {
    if (places.empty()) return;
    out_ += fmt::format("  {}\n", title);
    std::uint64_t others = 0;
    for (std::size_t i = 0; i < places.size(); ++i) {
      if (i < kPlacesShown) {
        out_ += fmt::format("    {:>21}  {}{}\n", format_size(places[i].bytes),
                            bar(places[i].bytes), printable(places[i].path));
      } else {
        others += places[i].bytes;
      }
    }
    if (places.size() <= kPlacesShown) return;
    out_ += fmt::format("    {:>21}  {}{} more\n", format_size(others), bar(others),
                        grouped(places.size() - kPlacesShown));
  }
  void cost() {
    line("to copy", g_.copied_bytes,
         fmt::format("written so that {} can go", plural(g_.extents, "extent")));
    line("metadata", g_.metadata_bytes, "growth on disk, roughly");
  }
  void rest() {
    if (e_.compressed.bytes != 0) {
      line("compressed", e_.compressed.bytes,
           "not compressed alike: a run reads it, and may find more");
    }
    if (e_.survey.no_checksum_bytes != 0) {
      line("no checksums", e_.survey.no_checksum_bytes,
           "nodatasum or preallocated: 'run --nodatasum' reads it, and may find more");
    }
  }
  void table() {
    std::string note = "holds every block: the figure is exact but for hash collisions";
    if (e_.one_in > 1) note = "holds every block";
    if (e_.table.level > 0) {
      note = fmt::format("holds one block in {}; {} would hold all, 'skep tune' tells what for",
                         grouped(1ULL << e_.table.level), size_option(e_.full_table_bytes));
    }
    line("table", e_.table_bytes, note);
  }

  const std::string& mount_;
  const Estimate& e_;
  const dedupe::GainTotals& g_;
  const bool terminal_;
  std::string out_;
};

ordered_json places_json(const std::vector<dedupe::PlaceGain>& places) {
  ordered_json out = ordered_json::array();
  for (const auto& place : places) {
    out.push_back({{"path", place.path}, {"bytes_freed", place.bytes}});
  }
  return out;
}

std::uint64_t most_freed(const Tuning& tuning) {
  std::uint64_t out = 0;
  for (const TriedTable& table : tuning.tables) out = std::max(out, table.freed_bytes);
  return out;
}

}  // namespace

std::string estimate_text(const std::string& mount, const Estimate& estimate, bool terminal) {
  return EstimateText(mount, estimate, terminal).take();
}

std::string estimate_json(const std::string& mount, const Estimate& estimate) {
  const auto& gains = estimate.gains;
  ordered_json out;
  out["version"] = 1;
  out["filesystem"] = btrfs::to_string(estimate.filesystem);
  out["mount"] = mount;
  out["seconds"] = estimate.seconds;
  out["exact"] = estimate.exact();
  out["sample_percent"] = 100.0 / static_cast<double>(estimate.one_in);
  out["generation"] = estimate.survey.generation;
  out["extents"] = estimate.survey.extents;
  out["bytes"] = estimate.survey.bytes;
  out["bytes_read"] = estimate.bytes_read;
  out["bytes_freed"] = gains.freed_bytes;
  out["bytes_margin"] = gains.margin_bytes;
  out["extents_freed"] = gains.extents;
  out["kinds"] = {{"whole", gains.whole_bytes},
                  {"partial", gains.part_bytes},
                  {"zeros", gains.zero_bytes},
                  {"unused", gains.unused_bytes},
                  {"already_shared", estimate.survey.saved_bytes}};
  out["subvolumes"] = places_json(gains.subvolumes);
  out["folders"] = places_json(gains.folders);
  out["cost"] = {{"bytes_copied", gains.copied_bytes}, {"metadata_bytes", gains.metadata_bytes}};
  out["compressed_unread"] = {{"extents", estimate.compressed.extents},
                              {"bytes", estimate.compressed.bytes}};
  out["no_checksum"] = {{"extents", estimate.survey.no_checksum_extents},
                        {"bytes", estimate.survey.no_checksum_bytes}};
  out["table"] = {{"size_bytes", estimate.table_bytes},
                  {"sampling_level", estimate.table.level},
                  {"cells", estimate.table.cells},
                  {"full_size_bytes", estimate.full_table_bytes}};
  return service::json_document(out);
}

std::string tune_text(const std::string& mount, const Tuning& tuning, bool terminal) {
  const std::uint64_t most = most_freed(tuning);
  const TriedTable& chosen = tuning.recommendation();
  std::string out = fmt::format("{}: {} in {}{}; {}\n", mount, format_size(tuning.data_bytes),
                                plural(tuning.extents, "extent"), how_much(tuning.one_in),
                                format_duration(tuning.seconds));
  out += fmt::format("  {:>6}  {:>10}  {:>9}  {:>7}\n", "table", "one block", "freed", "of most");
  for (const TriedTable& table : tuning.tables) {
    const double share = share_of(table.freed_bytes, most);
    const bool here = &table == &chosen;
    std::string line = fmt::format("  {:>6}  {:>10}  {:>9}  {:>5.1f} %", size_option(table.bytes),
                                   fmt::format("in {}", grouped(1ULL << table.usage.level)),
                                   format_size(table.freed_bytes), 100 * share);
    if (terminal) line += "  " + solid_bar(share, kBarCells);
    out += line + (here ? "  <- recommended\n" : "\n");
  }
  if (tuning.one_in > 1) {
    out += fmt::format("  freed: ± {} (95 of 100 times); between the sizes it differs less\n",
                       format_size(chosen.margin_bytes));
  }
  out += fmt::format(
      "  {} is the smallest that misses at most {:.0f} %; {} would hold every block\n",
      size_option(chosen.bytes), 100 * Tuning::kMayMiss, size_option(tuning.full_table_bytes));
  out += fmt::format("  memory: {} for each TiB of data like this\n",
                     format_size(tuning.bytes_per_tib()));
  out += fmt::format("  for /etc/skep/{}.conf:\n    [table]\n    size = \"{}\"\n",
                     btrfs::to_string(tuning.filesystem), size_option(chosen.bytes));
  return out;
}

std::string tune_json(const std::string& mount, const Tuning& tuning) {
  ordered_json out;
  out["version"] = 1;
  out["filesystem"] = btrfs::to_string(tuning.filesystem);
  out["mount"] = mount;
  out["seconds"] = tuning.seconds;
  out["sample_percent"] = 100.0 / static_cast<double>(tuning.one_in);
  out["extents"] = tuning.extents;
  out["bytes"] = tuning.data_bytes;
  auto& tables = out["tables"] = ordered_json::array();
  for (const TriedTable& table : tuning.tables) {
    tables.push_back({{"size_bytes", table.bytes},
                      {"sampling_level", table.usage.level},
                      {"cells", table.usage.cells},
                      {"bytes_freed", table.freed_bytes},
                      {"bytes_margin", table.margin_bytes}});
  }
  out["recommended_bytes"] = tuning.recommendation().bytes;
  out["full_size_bytes"] = tuning.full_table_bytes;
  out["bytes_per_tib"] = tuning.bytes_per_tib();
  out["configuration"] =
      fmt::format("[table]\nsize = \"{}\"\n", size_option(tuning.recommendation().bytes));
  return service::json_document(out);
}

}  // namespace skep::cli
