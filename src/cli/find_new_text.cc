// SPDX-License-Identifier: MIT
#include "find_new_text.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "skep/btrfs/utf8.h"
#include "skep/service/json_text.h"

namespace skep::cli {
namespace {

using btrfs::FileExtent;
using btrfs::FileExtentType;
using nlohmann::ordered_json;

std::string flags_of(const FileExtent& extent) {
  std::string out;
  for (const auto& [set, name] :
       {std::pair(extent.compression != 0, "COMPRESS"),
        std::pair(extent.type == FileExtentType::kInline, "INLINE"),
        std::pair(extent.type == FileExtentType::kPrealloc, "PREALLOC")}) {
    if (!set) continue;
    if (!out.empty()) out += '|';
    out += name;
  }
  return out.empty() ? "NONE" : out;
}

std::string hexadecimal(std::string_view bytes) {
  std::string out;
  for (const char byte : bytes) out += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return out;
}

}  // namespace

std::string change_text(std::uint64_t inode, const std::string& path, const FileExtent& extent) {
  return fmt::format("inode {} file offset {} len {} disk start {} offset {} gen {} flags {} {}",
                     inode, extent.file_offset, extent.length, extent.extent_address,
                     extent.extent_offset, extent.generation, flags_of(extent), path);
}

std::string change_json(std::uint64_t inode, const std::string& path, const FileExtent& extent) {
  ordered_json out;
  out["inode"] = inode;
  out["path"] = path;
  if (!btrfs::is_utf8(path)) out["path_hex"] = hexadecimal(path);
  out["file_offset"] = extent.file_offset;
  out["length"] = extent.length;
  out["disk_start"] = extent.extent_address;
  out["offset"] = extent.extent_offset;
  out["generation"] = extent.generation;
  out["compressed"] = extent.compression != 0;
  out["inline"] = extent.type == FileExtentType::kInline;
  out["preallocated"] = extent.type == FileExtentType::kPrealloc;
  return service::json_line(out);
}

}  // namespace skep::cli
