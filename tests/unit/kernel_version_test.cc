// SPDX-License-Identifier: MIT
#include "skep/btrfs/kernel_version.h"

#include <fmt/format.h>

#include <string>

#include "catch.h"
#include "temporary_folder.h"

namespace skep::btrfs {
namespace {

using Kind = KernelVerdict::Kind;

TEST_CASE("kernels that can lose data or deadlock are refused") {
  for (const char* release : {"4.4.0", "4.19.300", "5.0.3", "5.1.0", "5.3.18-lp152", "5.4.13"}) {
    INFO(release);
    CHECK(judge_kernel(release).kind == Kind::kRefuse);
    CHECK_FALSE(judge_kernel(release).reason.empty());
  }
}

TEST_CASE("kernels that do not name the checksum are refused") {
  for (const char* release : {"5.0.4", "5.4.14", "5.8.18"}) {
    INFO(release);
    CHECK(judge_kernel(release).kind == Kind::kRefuse);
    CHECK(judge_kernel(release).reason.find("checksum") != std::string::npos);
  }
}

TEST_CASE("kernels from 5.9 on are good") {
  for (const char* release : {"5.9.0", "5.10.209", "6.1.0-18-amd64", "6.18.5", "6.7-rc1", "10.0"}) {
    INFO(release);
    CHECK(judge_kernel(release).kind == Kind::kGood);
    CHECK(judge_kernel(release).reason.empty());
  }
}

TEST_CASE("a release that is no version is refused") {
  for (const char* release : {"", "linux", "-1", "."}) {
    INFO(release);
    CHECK(judge_kernel(release).kind == Kind::kRefuse);
  }
}

TEST_CASE("the reason names the release") {
  CHECK(judge_kernel("5.3.18-lp152").reason.find("5.3.18-lp152") != std::string::npos);
}

// The page without scdoc's escapes, each run of blanks and line ends as one blank.
std::string page_in_one_line(const std::string& name) {
  std::string out;
  for (const char c : testing::contents_of(std::string(SKEP_SOURCE_DIR "/man/") + name)) {
    if (c == '\\') continue;
    const bool blank = c == ' ' || c == '\n' || c == '\t';
    if (!blank) out += c;
    if (blank && (out.empty() || out.back() != ' ')) out += ' ';
  }
  return out;
}

TEST_CASE("what skep does without a feature of the kernel stands in its page, in one order") {
  const std::string page = page_in_one_line("skep.1.scd");
  std::size_t after = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(KernelFeature::kCount); ++i) {
    const auto& facts = facts_of(static_cast<KernelFeature>(i));
    CHECK(facts.feature == static_cast<KernelFeature>(i));
    const std::string row =
        fmt::format("| {} :< {} :< {} ", facts.what, facts.since, facts.without);
    INFO(row);
    const std::size_t at = page.find(row);
    REQUIRE(at != std::string::npos);
    CHECK(at > after);
    after = at;
  }
}

}  // namespace
}  // namespace skep::btrfs
