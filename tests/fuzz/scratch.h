// SPDX-License-Identifier: MIT
//
// A folder for a target that needs files: one for the life of the process, in TMPDIR or in memory.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include "fuzz_target.h"

namespace skep::fuzz {

class Scratch {
 public:
  Scratch() {
    const char* where = std::getenv("TMPDIR");
    path_ = std::string(where != nullptr ? where : "/dev/shm") + "/skep-fuzz-XXXXXX";
    require(mkdtemp(path_.data()) != nullptr, "cannot make a folder in TMPDIR, or /dev/shm");
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  const std::string& path() const { return path_; }

  // Empty when there is no such file. Not by a stream: that took most of the time of a target.
  static std::string content_of(const std::string& path) {
    std::string out;
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return out;
    char piece[16384];
    for (ssize_t got = 0; (got = read(fd, piece, sizeof piece)) > 0;) {
      out.append(piece, static_cast<std::size_t>(got));
    }
    close(fd);
    return out;
  }

  // A file of this content, and its path.
  std::string write(const std::string& name, std::string_view content) const {
    std::string path = path_ + "/" + name;
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    require(fd >= 0, "cannot open a file to write the input to");
    require(::write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size()),
            "cannot write the input");
    close(fd);
    return path;
  }

 private:
  std::string path_;
};

}  // namespace skep::fuzz
