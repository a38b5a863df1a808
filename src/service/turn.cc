// SPDX-License-Identifier: MIT
#include "skep/service/turn.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "skep/btrfs/owner.h"
#include "skep/btrfs/status.h"
#include "stop_every.h"

namespace skep::service {
namespace {

using std::chrono::milliseconds;

// Nobody tells when the lock is free; there are hours of work to share it out over.
constexpr auto kAskEvery = milliseconds(500);
// Whoever waits asks meanwhile.
constexpr auto kLeave = 2 * kAskEvery;

}  // namespace

absl::Status Turn::open(const std::string& run_dir) {
  std::error_code error;
  const auto absolute = std::filesystem::absolute(run_dir, error).lexically_normal();
  // A run directory may be named with a slash at its end.
  const auto folder =
      absolute.has_filename() ? absolute.parent_path() : absolute.parent_path().parent_path();
  const std::string path = (folder / "turn").string();
  // Only who may write it may lock it: another user could keep everybody waiting. In its sandbox
  // the service can write to no other place; there it is made beforehand (conf/skep.tmpfiles).
  btrfs::Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file && errno == ENOENT) {
    file =
        btrfs::Descriptor(::open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (file) btrfs::give_to_owner_of_folder(file.get(), path);
  }
  if (!file) return errno_status(errno, "open", path);
  absl::MutexLock lock(&mutex_);
  file_ = std::move(file);
  return absl::OkStatus();
}

void Turn::unlock() {
  if (!has_) return;
  flock(file_.get(), LOCK_UN);
  has_ = false;
}

void Turn::give_back() {
  absl::MutexLock lock(&mutex_);
  unlock();
}

void Turn::wait(Clock::duration time, const std::function<bool()>& stop) {
  absl::CondVar nobody;
  const auto until = Clock::now() + time;
  for (auto now = Clock::now(); now < until && !stop(); now = Clock::now()) {
    nobody.WaitWithTimeout(&mutex_,
                           absl::FromChrono(std::min<Clock::duration>(until - now, kStopEvery)));
  }
}

void Turn::take(const std::function<bool()>& stop) {
  if (!file_ || has_) return;
  bool told = false;
  while (!has_ && !stop()) {
    has_ = flock(file_.get(), LOCK_EX | LOCK_NB) == 0;
    if (has_) break;
    if (!told) waits_(true);
    told = true;
    wait(kAskEvery, stop);
  }
  if (told) waits_(false);
  since_ = Clock::now();
}

void Turn::before_batch(const std::function<bool()>& stop) {
  next_.before_batch(stop);
  absl::MutexLock lock(&mutex_);
  while (has_ && Clock::now() - since_ >= kLongest && under_way_ > 0 && !stop()) {
    wait(kStopEvery, stop);
  }
  if (has_ && Clock::now() - since_ >= kLongest && !stop()) {
    unlock();
    wait(kLeave, stop);
  }
  take(stop);
  ++under_way_;
}

void Turn::batch_done() {
  {
    absl::MutexLock lock(&mutex_);
    under_way_ = std::max(0, under_way_ - 1);
  }
  next_.batch_done();
}

void Turn::between_steps(const std::function<bool()>& stop) {
  next_.between_steps(stop);
  absl::MutexLock lock(&mutex_);
  take(stop);  // it was given back if that took long
}

}  // namespace skep::service
