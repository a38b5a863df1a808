// SPDX-License-Identifier: MIT
//
// Lists of files, as people and as finders of duplicate files write them:
//
//   lines      a name a line
//   nul        names that end with NUL (find -print0); an empty name ends a group (jdupes -0)
//   fdupes     a name a line, groups end with an empty line; a line "12 bytes each:" may begin one
//              (fdupes, jdupes, rmlint -o fdupes)
//   jdupes     JSON: { "matchSets": [ { "fileList": [ { "filePath": NAME } ] } ] }
//   fclones    comment lines, then for each group "HASH, 12 B (12 B) * 2:" and indented names, with
//              escapes (STFU-8); or JSON: { "groups": [ { "files": [ NAME ] } ] }, with the same
//              escapes in its strings. Relative names begin in the base directory of the header.
//   rmlint     JSON: [ { "type": "duplicate_file", "checksum": KEY, "path": NAME } ], with the
//              names' bytes as they are, UTF-8 or not
//
// Pure functions, thread-safe.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>
#include <vector>

namespace skep::service {

enum class ListFormat { kAuto, kLines, kNul, kFdupes, kJdupes, kFclones, kRmlint };

struct FileList {
  ListFormat format = ListFormat::kLines;  // never kAuto
  // The groups say that their files are equal; else there is one group, of candidates.
  bool claims_equal = false;
  std::vector<std::vector<std::string>> groups;  // none is empty, no name is empty or has a NUL
};

// The format that a text is in, by its look.
ListFormat recognise_list(std::string_view text);

// INVALID_ARGUMENT, with the place, where the text is not in that format. kJdupes also takes the
// other formats that jdupes writes.
absl::StatusOr<FileList> parse_file_list(std::string_view text, ListFormat format);

}  // namespace skep::service
