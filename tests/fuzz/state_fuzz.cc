// SPDX-License-Identifier: MIT
//
// Reads any bytes as a checkpoint (state.json) and as a history (history.json): they are refused
// with the errors that are promised, or read and written again without loss. Opening the state
// directory sets a damaged checkpoint aside, and never loses it.
#include <absl/status/status.h>

#include <string>

#include "fuzz_target.h"
#include "scratch.h"
#include "skep/dedupe/glob.h"
#include "skep/dedupe/limits.h"
#include "skep/service/history.h"
#include "skep/service/state_dir.h"

namespace {

using namespace skep::service;  // NOLINT: one file, one subject
using skep::fuzz::require;
using skep::fuzz::Scratch;

constexpr skep::btrfs::Uuid kFilesystem{0x11, 0x22, 0x33};

void read_checkpoint(const Scratch& scratch, std::string_view text) {
  const std::string path = scratch.write("state.json", text);
  const auto found = StateDir::peek(scratch.path(), kFilesystem);
  const auto dir = StateDir::open(scratch.path(), kFilesystem);
  if (!found.ok()) {
    require(absl::IsDataLoss(found.status()) || absl::IsFailedPrecondition(found.status()),
            "a checkpoint refused with an error that is not promised");
    require(dir.ok() == absl::IsDataLoss(found.status()), "open() and peek() differ");
    const std::string kept = dir.ok() ? path + ".old" : path;
    require(Scratch::content_of(kept) == text, "a checkpoint that was refused is lost");
    return;
  }
  require(dir.ok() && dir->set_aside_reason().empty(), "open() refuses what peek() reads");
  require(found->position.retries.size() <= skep::dedupe::limits::kRetries, "too many retries");
  require(dir->save(*found).ok(), "cannot save");
  const std::string once = Scratch::content_of(path);
  const auto again = StateDir::peek(scratch.path(), kFilesystem);
  require(again.ok(), "what was saved is refused");
  require(dir->save(*again).ok() && Scratch::content_of(path) == once,
          "saving changes the checkpoint");
}

void read_rows(const Scratch& scratch, std::string_view text) {
  const std::string path = scratch.write("history.json", text);
  auto history = read_history(scratch.path(), kFilesystem);
  if (!history.ok()) {
    require(absl::IsDataLoss(history.status()), "a history refused with another error");
    return;
  }
  HistoryRow row;
  row.time = 1'800'000'000;
  add_row(*history, row);
  require(history->size() <= kMostHistoryRows, "a history without bound");
  for (std::size_t i = 1; i < history->size(); ++i) {
    require((*history)[i - 1].time <= (*history)[i].time, "a history that goes back in time");
  }
  require(write_history(scratch.path(), kFilesystem, *history).ok(), "cannot write");
  const std::string once = Scratch::content_of(path);
  const auto again = read_history(scratch.path(), kFilesystem);
  require(again.ok() && again->size() == history->size(), "what was written is refused");
  require(
      write_history(scratch.path(), kFilesystem, *again).ok() && Scratch::content_of(path) == once,
      "writing changes the history");
}

}  // namespace

std::vector<skep::fuzz::Input> skep::fuzz::seed_inputs() {
  const Scratch scratch;
  const auto dir = StateDir::open(scratch.path(), kFilesystem);
  require(dir.ok(), "cannot make a state directory");
  Checkpoint checkpoint;
  checkpoint.position.done_generation = 7;
  std::vector<Input> out;
  const auto add = [&] {
    require(dir->save(checkpoint).ok(), "cannot save");
    out.push_back(input_of(Scratch::content_of(scratch.path() + "/state.json")));
  };
  add();
  checkpoint.position.unfinished = true;
  checkpoint.position.busy_after = 5;
  checkpoint.position.retries = {{1 << 20, 2}};
  checkpoint.position.filter.file_bytes.least = 4096;
  checkpoint.position.filter.exclude_paths = {
      *skep::dedupe::Glob::parse("*.tmp", skep::dedupe::Glob::Of::kPath)};
  checkpoint.today.read = 9;
  add();
  HistoryRow row;
  row.time = 1'700'000'000;
  row.sizes.emplace();
  row.left[1] = {3, 4096};
  require(write_history(scratch.path(), kFilesystem, {row, row}).ok(), "cannot write");
  out.push_back(input_of(Scratch::content_of(scratch.path() + "/history.json")));
  return out;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Scratch scratch;
  const auto text = skep::fuzz::text_of(data, size);
  read_checkpoint(scratch, text);
  read_rows(scratch, text);
  return 0;
}
