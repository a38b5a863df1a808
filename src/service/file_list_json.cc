// SPDX-License-Identifier: MIT
#include "file_list_json.h"

#include <absl/container/flat_hash_map.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>

#include "skep/btrfs/utf8.h"

namespace skep::service {
namespace {

using Json = nlohmann::json;

// rmlint writes names as they are, and JSON has only UTF-8. So each byte that is no UTF-8 goes
// through the parser as a character of a private range, of which the last 128 stand for 0x80 to
// 0xff; what is of that range itself goes through byte by byte.
constexpr std::string_view kStandIn = "\xf4\x8f";
constexpr std::size_t kStandInBytes = 4;

bool stands_in(std::string_view text) {
  return text.size() >= kStandInBytes && text.substr(0, 2) == kStandIn &&
         (text[2] == '\xbe' || text[2] == '\xbf');
}

std::string to_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    std::size_t length = stands_in(text) ? 0 : btrfs::utf8_length(text);
    if (length == 0) {
      btrfs::append_utf8(out, 0x10ff00U + static_cast<unsigned char>(text[0]));
      length = 1;
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return out;
}

std::string from_utf8(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const bool one_byte = stands_in(text);
    if (one_byte) {
      out += static_cast<char>((text[2] == '\xbf' ? 0xc0 : 0x80) | (text[3] & 0x3f));
    } else {
      out += text[0];
    }
    text.remove_prefix(one_byte ? kStandInBytes : 1);
  }
  return out;
}

// Takes what the parser meets, one value after another: lists can be large.
class Reader {
 public:
  Reader(ListFormat format, bool decode) : decode_(decode) { list_.format = format; }

  bool null() { return value(); }
  bool boolean(bool is) {
    if (in_entry() && levels_[1].key == "is_original") entry_.original = is;
    return value();
  }
  bool number_integer(Json::number_integer_t) { return value(); }
  bool number_unsigned(Json::number_unsigned_t number) {
    if (in_entry() && levels_[1].key == "size") entry_.size = number;
    return value();
  }
  bool number_float(Json::number_float_t, const std::string&) { return value(); }
  bool binary(const Json::binary_t&) { return value(); }
  bool string(std::string& text);
  bool start_object(std::size_t) { return enter(false); }
  bool key(const std::string& name) {
    levels_.back().key = name;
    const std::string place = where();
    known_ = known_ || place == "matchSets" || place == "groups" || place == "[]description" ||
             place == "[]type";
    return true;
  }
  bool end_object() {
    if (in_entry()) finish_entry();
    return leave();
  }
  bool start_array(std::size_t) { return enter(true); }
  bool end_array() {
    if (where() == "matchSets[]fileList[]" || where() == "groups[]files[]") finish_group();
    return leave();
  }
  bool parse_error(std::size_t position, const std::string&, const Json::exception&) {
    error_ = fmt::format("byte {}: is no JSON", position);
    return false;
  }

  absl::StatusOr<FileList> take();

 private:
  struct Level {
    bool array = false;
    std::string key;  // the member that is being read
  };
  struct Entry {  // of rmlint
    std::string type, path, checksum;
    std::uint64_t size = 0;
    bool original = false;
  };

  bool value() { return true; }
  bool enter(bool array) {
    levels_.push_back({array, ""});
    return true;
  }
  bool leave() {
    levels_.pop_back();
    return true;
  }
  // The members and elements that lead here, such as "groups[]files[]". Deeper than any of the
  // formats it is not told.
  std::string where() const {
    std::string out;
    if (levels_.size() > 6) return out;
    for (const Level& level : levels_) out += level.array ? "[]" : level.key;
    return out;
  }
  // In an element of rmlint's array.
  bool in_entry() const { return levels_.size() == 2 && levels_[0].array; }
  void add(std::string name) { group_.push_back(decode_ ? from_utf8(name) : std::move(name)); }
  void finish_group() {
    if (!group_.empty()) list_.groups.push_back(std::move(group_));
    group_.clear();
  }
  void finish_entry();
  std::size_t group_of(const Entry& entry);

  const bool decode_;
  FileList list_;
  bool known_ = false;  // something was seen that only such lists have
  std::vector<Level> levels_;
  std::vector<std::string> group_;
  std::string base_;  // of fclones
  Entry entry_;
  Entry last_entry_;
  absl::flat_hash_map<std::string, std::size_t> group_of_checksum_;
  std::string error_;
};

bool Reader::string(std::string& text) {
  if (in_entry()) {
    const std::string& name = levels_[1].key;
    if (name == "type") entry_.type = text;
    if (name == "path") entry_.path = text;
    if (name == "checksum") entry_.checksum = text;
    return true;
  }
  const std::string place = where();
  if (place == "matchSets[]fileList[]filePath") {
    add(text);
  } else if (place == "groups[]files[]") {
    const std::string name = decode_stfu8(text);
    if (name.empty()) error_ = fmt::format("'{}' has an escape that is none", text);
    add(below(base_, name));
  } else if (place == "headerbase_dir") {
    base_ = decode_stfu8(text);
  }
  return error_.empty();
}

std::size_t Reader::group_of(const Entry& entry) {
  if (!entry.checksum.empty()) {
    const auto [found, is_new] = group_of_checksum_.try_emplace(
        fmt::format("{} {}", entry.checksum, entry.size), list_.groups.size());
    return found->second;
  }
  // Compared byte by byte, they have none: the original stands first.
  const bool begins = list_.groups.empty() || entry.size != last_entry_.size ||
                      (entry.original && !last_entry_.original);
  return list_.groups.size() - (begins ? 0 : 1);
}

void Reader::finish_entry() {
  // Those of equal folders are told as files too.
  if ((entry_.type == "duplicate_file" || entry_.type == "part_of_directory") &&
      !entry_.path.empty()) {
    const std::size_t group = group_of(entry_);
    if (group == list_.groups.size()) list_.groups.emplace_back();
    list_.groups[group].push_back(decode_ ? from_utf8(entry_.path) : entry_.path);
    last_entry_ = entry_;
  }
  entry_ = {};
}

absl::StatusOr<FileList> Reader::take() {
  if (!error_.empty()) return absl::InvalidArgumentError(error_);
  if (!known_) {
    return absl::InvalidArgumentError("this JSON is no list of jdupes, fclones or rmlint");
  }
  list_.claims_equal = true;
  return std::move(list_);
}

int hex_value(std::string_view digits) {
  int value = 0;
  const auto [rest, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  return error == std::errc() && rest == digits.data() + digits.size() && digits[0] != '-' ? value
                                                                                           : -1;
}

// Takes one escape off the text, which begins behind its backslash. False for what is none.
bool decode_escape(std::string_view& text, std::string& out) {
  constexpr std::string_view kLetters = "\\ntr", kMeanings = "\\\n\t\r";
  if (text.empty()) return false;
  const char letter = text[0];
  text.remove_prefix(1);
  if (const std::size_t which = kLetters.find(letter); which != std::string_view::npos) {
    out += kMeanings[which];
    return true;
  }
  const std::size_t digits = letter == 'x' ? 2 : letter == 'u' ? 6 : 0;
  if (digits == 0 || text.size() < digits) return false;
  const int code = hex_value(text.substr(0, digits));
  text.remove_prefix(digits);
  if (code <= 0 || code > 0x10ffff) return false;
  if (letter == 'x') {
    out += static_cast<char>(code);
  } else {
    btrfs::append_utf8(out, static_cast<std::uint32_t>(code));
  }
  return true;
}

}  // namespace

ListFormat json_flavour(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin != std::string_view::npos && text[begin] == '[') return ListFormat::kRmlint;
  const std::string_view head = text.substr(0, 1 << 16);
  return head.find("\"jdupesVersion\"") != std::string_view::npos ||
                 head.find("\"matchSets\"") != std::string_view::npos
             ? ListFormat::kJdupes
             : ListFormat::kFclones;
}

absl::StatusOr<FileList> parse_json_list(std::string_view text, ListFormat format) {
  const ListFormat found = json_flavour(text);
  if (format != found) return absl::InvalidArgumentError("this JSON is a list of another program");
  const bool decode = !btrfs::is_utf8(text);
  Reader reader(found, decode);
  const std::string copy = decode ? to_utf8(text) : std::string();
  const std::string_view from = decode ? std::string_view(copy) : text;
  Json::sax_parse(from.begin(), from.end(), &reader);
  return reader.take();
}

std::string decode_stfu8(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t plain = std::min(text.find('\\'), text.size());
    out += text.substr(0, plain);
    text.remove_prefix(plain);
    if (text.empty()) break;
    text.remove_prefix(1);
    if (!decode_escape(text, out)) return "";
  }
  return out;
}

std::string below(const std::string& base, std::string name) {
  if (base.empty() || name.empty() || name.front() == '/') return name;
  return base + (base.back() == '/' ? "" : "/") + name;
}

}  // namespace skep::service
