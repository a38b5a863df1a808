// SPDX-License-Identifier: MIT
//
// What `skep dedupe-files` tells: each group as soon as it is done, and the totals, for a person or
// as one JSON object. What failed is told on stderr, in a line each. Thread-compatible.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "skep/dedupe/file_sharer.h"

namespace skep::cli {

class FilesReport final : public dedupe::FileReport {
 public:
  enum class Form { kText, kJson, kNothing };
  FilesReport(Form form, bool dry_run);

  void group(const dedupe::GroupResult& result) override;
  void problem(const std::string& path, const std::string& why) override;
  // The totals. Returns the exit status, or that of a failure when something could not be written.
  int finish(const dedupe::FileTotals& totals, int exit_status);

 private:
  void write(std::string_view text);

  const Form form_;
  const bool dry_run_;
  bool any_group_ = false;
  int write_status_ = 0;
  std::vector<std::pair<std::string, std::string>> problems_;  // of JSON, which tells them last
};

// As a shell reads it: as it is, or, with bytes in it that could steer a terminal or are no UTF-8,
// $'so\n'.
std::string shell_name(std::string_view name);

}  // namespace skep::cli
