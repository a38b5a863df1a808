// SPDX-License-Identifier: MIT
#include "skep/btrfs/status.h"

#include <cerrno>

#include "catch.h"

namespace skep {
namespace {

TEST_CASE("errno_status names the object, the call and the reason") {
  const absl::Status status = errno_status(ENOENT, "LOGICAL_INO_V2", "extent 0x45350000");
  CHECK(message_of(status) == "extent 0x45350000: LOGICAL_INO_V2: No such file or directory");
  CHECK(status.code() == absl::StatusCode::kNotFound);
}

TEST_CASE("errno_status keeps the errno") {
  for (const int error : {EAGAIN, EIO, EINVAL, ENOSPC, EPERM, ETXTBSY, EROFS}) {
    const absl::Status status = errno_status(error, "FIDEDUPERANGE", "inode 257");
    CHECK_FALSE(status.ok());
    CHECK(errno_of(status) == error);
  }
}

TEST_CASE("errno_status is never OK, also without an errno") {
  const absl::Status status = errno_status(0, "pwrite", "temporary file");
  CHECK(status.code() == absl::StatusCode::kInternal);
  CHECK(message_of(status) == "temporary file: pwrite: no progress");
  CHECK(errno_of(status) == 0);
}

TEST_CASE("errno_of other statuses is 0") {
  CHECK(errno_of(absl::OkStatus()) == 0);
  CHECK(errno_of(absl::NotFoundError("gone")) == 0);
}

}  // namespace
}  // namespace skep
