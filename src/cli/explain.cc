// SPDX-License-Identifier: MIT
#include "explain.h"

#include <absl/container/flat_hash_set.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "output.h"
#include "skep/service/exit_status.h"
#include "skep/service/json_text.h"
#include "skep/service/sizes.h"
#include "text.h"
#include "verdict_text.h"

namespace skep::cli {
namespace {

using btrfs::FileExtent;
using btrfs::FileExtentType;
using dedupe::Explanation;
using dedupe::Verdict;
using nlohmann::ordered_json;
using service::ExtentStory;
using service::FileStory;
using service::format_size;

std::string_view kind_of(const FileExtent& item) {
  if (item.type == FileExtentType::kInline) return "inline";
  if (item.extent_address == 0) return "hole";
  return item.type == FileExtentType::kPrealloc ? "preallocated" : "data";
}

std::string_view compression_of(const FileExtent& item) {
  constexpr std::string_view kNames[] = {"none", "zlib", "lzo", "zstd"};
  return item.compression < std::size(kNames) ? kNames[item.compression] : "unknown";
}

std::string_view verdict_name(Verdict verdict) {
  return verdict == Verdict::kFreed ? "goes" : name_of(verdict);
}

std::string why(const ExtentStory& story) {
  const Explanation& found = *story.explanation;
  if (!story.excluded.empty()) return fmt::format("left out by {}", story.excluded);
  if (found.verdict != Verdict::kFreed) return explain(found.verdict);
  const std::string copied = found.copied_bytes == 0 ? ""
                                                     : fmt::format("; {} would be copied",
                                                                   format_size(found.copied_bytes));
  return fmt::format("a run would free it: it is stored elsewhere{}", copied);
}

// As sizes are typed, and exact: "20K", "16M", "513".
std::string exact(std::uint64_t bytes) {
  if (bytes != 0 && bytes % (1 << 20) == 0) return fmt::format("{}M", bytes >> 20);
  if (bytes != 0 && bytes % (1 << 10) == 0) return fmt::format("{}K", bytes >> 10);
  return fmt::format("{}", bytes);
}

class StoryText {
 public:
  explicit StoryText(const FileStory& story) : story_(story) {}

  std::string text(const std::string& path) {
    out_ = printable(path) + "\n";
    line("file", fmt::format("{}; inode {} of subvolume {}{}", format_size(story_.inode.size),
                             story_.key.inode, story_.key.root,
                             story_.path.empty() ? "" : ": " + printable(story_.path)));
    line("filesystem", btrfs::to_string(story_.filesystem));
    if (!story_.excluded.empty()) line("left out", "by " + printable(story_.excluded));
    if (!story_.no_table.empty()) {
      line("no verdicts", fmt::format("{}; 'skep scan' or 'skep run --once' makes one",
                                      printable(story_.no_table)));
    }
    for (const FileExtent& item : story_.items) add_item(item);
    if (story_.items.empty()) line("extents", "none");
    return std::move(out_);
  }

 private:
  void line(std::string_view name, const std::string& value) {
    out_ += fmt::format("  {:<12} {}\n", name, value);
  }

  void add_item(const FileExtent& item) {
    out_ += fmt::format("{:>12}  {}\n", exact(item.file_offset), place(item));
    const ExtentStory* story = story_.story_of(item);
    if (story == nullptr) return;
    if (told_.insert(item.extent_address).second) {
      add_story(*story);
    } else {
      detail("extent", "the same as above");
    }
  }

  static std::string place(const FileExtent& item) {
    if (item.type == FileExtentType::kInline) {
      return fmt::format("{} inline, among the metadata", exact(item.content_length));
    }
    if (item.extent_address == 0) return fmt::format("{} hole", exact(item.length));
    std::string out = fmt::format("{} at {:#x}", exact(item.length), item.extent_address);
    if (item.extent_offset != 0 || item.length != item.content_length) {
      out += fmt::format(" from {} of {}", exact(item.extent_offset), exact(item.content_length));
    }
    if (item.compression != 0) {
      out += fmt::format(", {} to {}", compression_of(item), exact(item.extent_length));
    }
    return item.type == FileExtentType::kPrealloc ? out + ", preallocated" : out;
  }

  void detail(std::string_view name, const std::string& value) {
    out_ += fmt::format("{:14}{:<11} {}\n", "", name, value);
  }

  void add_story(const ExtentStory& story) {
    detail("references", references(story));
    for (const std::string& other : story.others) detail("", printable(other));
    if (!story.explanation) return;
    detail("verdict", fmt::format("{}: {}{}", verdict_name(story.explanation->verdict), why(story),
                                  story.looked_at ? "" : " (not looked at yet)"));
    if (story.explanation->zero_bytes != 0) {
      detail("zeros", format_size(story.explanation->zero_bytes));
    }
    for (const auto& run : story.elsewhere) {
      detail("elsewhere",
             fmt::format("{} from {} at {:#x}{}", exact(run.length), exact(run.offset), run.address,
                         run.file.empty() ? ""
                                          : fmt::format(": {} from {}", printable(run.file),
                                                        exact(run.file_offset))));
    }
  }

  static std::string references(const ExtentStory& story) {
    if (!story.references) {
      return fmt::format("more than {}", grouped(service::kExplainReferences));
    }
    if (*story.references == 1) return "1, of this file";
    if (story.files == 1) return fmt::format("{}, all of this file", grouped(*story.references));
    const std::uint64_t others = story.files - 1;
    return fmt::format("{}, of {}; {}:", grouped(*story.references), plural(story.files, "file"),
                       others > story.others.size() ? "some of the others"
                       : others == 1                ? "the other"
                                                    : "the others");
  }

  const FileStory& story_;
  absl::flat_hash_set<std::uint64_t> told_;  // addresses
  std::string out_;
};

void add_story(const ExtentStory& story, ordered_json& out) {
  out["generation"] = story.extent.generation;
  out["looked_at"] = story.looked_at;
  out["references"] = story.references ? ordered_json(*story.references) : ordered_json();
  out["others"] = story.others;
  if (!story.explanation) return;
  out["verdict"] = verdict_name(story.explanation->verdict);
  out["why"] = why(story);
  out["bytes_zero"] = story.explanation->zero_bytes;
  out["bytes_to_copy"] = story.explanation->copied_bytes;
  auto& elsewhere = out["elsewhere"] = ordered_json::array();
  for (const auto& run : story.elsewhere) {
    elsewhere.push_back({{"offset", run.offset},
                         {"length", run.length},
                         {"address", run.address},
                         {"file", run.file},
                         {"file_offset", run.file_offset}});
  }
}

ordered_json item_json(const FileStory& story, const FileExtent& item) {
  ordered_json out;
  out["offset"] = item.file_offset;
  out["length"] = item.length;
  out["kind"] = kind_of(item);
  if (kind_of(item) == "hole") return out;
  out["compression"] = compression_of(item);
  if (item.type == FileExtentType::kInline) return out;
  out["address"] = item.extent_address;
  out["disk_length"] = item.extent_length;
  out["extent_offset"] = item.extent_offset;
  if (const ExtentStory* extent = story.story_of(item); extent != nullptr) add_story(*extent, out);
  return out;
}

std::string json(const FileStory& story, const std::string& path) {
  ordered_json out;
  out["version"] = 1;
  out["path"] = path;
  out["filesystem"] = btrfs::to_string(story.filesystem);
  out["root"] = story.key.root;
  out["inode"] = story.key.inode;
  out["size"] = story.inode.size;
  out["path_in_filesystem"] = story.path;
  out["excluded_by"] = story.excluded;
  out["no_table"] = story.no_table;
  auto& extents = out["extents"] = ordered_json::array();
  for (const FileExtent& item : story.items) extents.push_back(item_json(story, item));
  return service::json_document(out);
}

}  // namespace

int explain_file(const ExplainCommand& command) {
  const FileStory story = service::explain_file(command.options);
  if (story.refusal.exit_status != 0) {
    return fail(story.refusal.exit_status, printable(story.refusal.message));
  }
  return print(command.json ? json(story, command.options.path)
                            : StoryText(story).text(command.options.path),
               service::kExitDone);
}

}  // namespace skep::cli
