// SPDX-License-Identifier: MIT
//
// Opens any bytes as a table file. It is refused with the errors that are promised, or it is a
// table: all that can be done with one works, whatever lies in its cells, and none of them is
// trusted to be where it belongs. A table of another kind is set aside, and never lost.
//
// An input is a byte of flags, eight bytes that choose what is looked up, then the file. Flag 1
// mends the magic, the version and the checksum of its header, which no mutation would hit.
#include <absl/status/status.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "../../src/index/table_header.h"
#include "fuzz_target.h"
#include "scratch.h"
#include "skep/index/table.h"
#include "skep/index/table_file.h"

namespace {

using namespace skep::index;  // NOLINT: one file, one subject
using skep::fuzz::require;
using skep::fuzz::Scratch;

constexpr int kMend = 1, kResize = 2, kOpen = 4;
constexpr std::uint64_t kMostPages = 4;
constexpr std::size_t kHead = 1 + sizeof(Fingerprint);

TableOptions options() {
  TableOptions out;
  out.size_bytes = 3 * Table::kPageBytes;
  out.filesystem = {1, 2, 3};
  return out;
}

// Sizes are those of the file as often as not: what is behind the header matters more.
void mend(std::string& file) {
  if (file.size() < sizeof(TableHeader)) return;
  TableHeader header{};
  std::memcpy(&header, file.data(), sizeof header);
  const TableHeader sound = new_header(options(), 0);
  std::copy(std::begin(sound.magic), std::end(sound.magic), header.magic);
  header.version = sound.version;
  header.page_bytes = sound.page_bytes;
  header.checksum = checksum_of(header);
  std::memcpy(file.data(), &header, sizeof header);
  if (header.buckets > 0 && header.buckets < kMostPages) file.resize(header.file_bytes());
}

bool promised(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsUnimplemented(status) ||
         absl::IsDataLoss(status);
}

void look_up(Table& table, Fingerprint chosen) {
  for (Fingerprint step = 0; step < 8; ++step) {
    const Fingerprint fingerprint = chosen + step * 0x9e3779b97f4a7c15;
    const auto found = table.find(fingerprint);
    require(found.size() <= Table::kMaxSame, "more of the same than there can be");
    for (const std::uint64_t address : found) {
      table.promote(fingerprint, address);
      const auto now = table.find(fingerprint);
      require(std::find(now.begin(), now.end(), address) != now.end(), "promoting loses a cell");
    }
    if (!found.empty()) table.erase(fingerprint, found.front());
    const std::uint64_t address = (step + 1) * 0x100000;
    table.insert(fingerprint, address);
    const auto usage = table.usage();
    require(usage.cells <= usage.capacity && usage.level <= Table::kMaxLevel, "an odd usage");
  }
  require(table.save().ok(), "cannot save");
}

void open_for_a_run(const std::string& path, const std::string& file, Fingerprint chosen) {
  std::remove((path + ".old").c_str());
  const auto table = Table::open(path, options());
  require(table.ok(), "a table that can neither be opened nor set aside");
  if (!(*table)->set_aside_reason().empty()) {
    require(!(*table)->reopened() && Scratch::content_of(path + ".old") == file, "a table is lost");
  }
  look_up(**table, chosen);
}

}  // namespace

std::vector<skep::fuzz::Input> skep::fuzz::seed_inputs() {
  const Scratch scratch;
  const std::string path = scratch.path() + "/table";
  {
    const auto table = Table::open(path, options());
    require(table.ok(), "cannot make a table");
    for (Fingerprint i = 1; i < 40; ++i) (*table)->insert(i * 0x9e3779b97f4a7c15, i << 20);
  }
  std::vector<Input> out;
  for (const int flags : {kMend, kMend | kResize, kMend | kOpen}) {
    Input one(kHead);
    one[0] = static_cast<std::uint8_t>(flags);
    const Input file = input_of(Scratch::content_of(path));
    one.insert(one.end(), file.begin(), file.end());
    out.push_back(one);
  }
  out.push_back(Input(kHead));
  return out;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Scratch scratch;
  if (size < kHead || size > kHead + kMostPages * Table::kPageBytes) return 0;
  const int flags = data[0];
  Fingerprint chosen = 0;
  std::memcpy(&chosen, data + 1, sizeof chosen);
  std::string file(skep::fuzz::text_of(data + kHead, size - kHead));
  if ((flags & kMend) != 0) mend(file);
  const std::string path = scratch.write("table", file);

  const auto info = inspect_table(path);
  const auto check = check_table(path);
  auto copy = Table::open_copy(path);
  require(info.ok() == check.ok() && info.ok() == copy.ok(), "one takes the file, another not");
  require(info.ok() || promised(info.status()), "a table refused with another error");
  if (info.ok()) {
    require(check->damaged_buckets <= check->buckets, "more damaged buckets than there are");
    look_up(**copy, chosen);
    require(Scratch::content_of(path) == file, "a copy changed the file");
  }
  if (copy.ok()) copy->reset();  // gives the lock back
  if ((flags & kResize) != 0) {
    const auto resized = resize_table(path, (chosen % kMostPages + 1) * Table::kPageBytes);
    require(resized.ok() || promised(resized.status()) || absl::IsOutOfRange(resized.status()),
            "a resize refused with another error");
    if (resized.ok()) require(check_table(path).ok(), "resizing breaks the table");
    file = Scratch::content_of(path);
  }
  if ((flags & kOpen) != 0) open_for_a_run(path, file, chosen);
  return 0;
}
