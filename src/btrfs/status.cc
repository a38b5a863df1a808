// SPDX-License-Identifier: MIT
#include "skep/btrfs/status.h"

#include <absl/strings/cord.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>

#include <cstring>
#include <string>

namespace skep {
namespace {
constexpr char kErrnoPayload[] = "skep/errno";

absl::string_view as_absl(std::string_view s) { return {s.data(), s.size()}; }
}  // namespace

absl::Status errno_status(int error, std::string_view call, std::string_view object) {
  char buffer[128];
  const char* reason = error == 0 ? "no progress" : strerror_r(error, buffer, sizeof buffer);
  auto code = error == 0 ? absl::StatusCode::kInternal : absl::ErrnoToStatusCode(error);
  absl::Status status(code, absl::StrCat(as_absl(object), ": ", as_absl(call), ": ", reason));
  // Of a view: of a string, Cord has a template, whose name clang 18 and newer mangle otherwise
  // than the compiler that the library was built with.
  status.SetPayload(kErrnoPayload, absl::Cord(absl::AlphaNum(error).Piece()));
  return status;
}

int errno_of(const absl::Status& status) {
  auto payload = status.GetPayload(kErrnoPayload);
  int error = 0;
  if (payload && absl::SimpleAtoi(std::string(*payload), &error)) return error;
  return 0;
}

std::string_view message_of(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

}  // namespace skep
