// SPDX-License-Identifier: MIT
//
// Open files of MemoryFilesystem: a key, and everything else delegated. Thread-safe as their
// filesystem, which must outlive them.
#pragma once

#include "skep/btrfs/memory_filesystem.h"

namespace skep::btrfs {

class MemoryUserFile final : public File {
 public:
  MemoryUserFile(MemoryFilesystem& filesystem, FileKey key) : filesystem_(filesystem), key_(key) {}
  MemoryUserFile(const MemoryUserFile&) = delete;
  MemoryUserFile& operator=(const MemoryUserFile&) = delete;
  ~MemoryUserFile() override { filesystem_.close(key_); }
  FileKey key() const override { return key_; }
  absl::StatusOr<std::size_t> read(std::uint64_t offset, std::span<std::byte> out) override {
    return filesystem_.read(key_, offset, out);
  }
  // There is no page cache.
  std::vector<bool> cached_pages(std::uint64_t, std::uint64_t) override { return {}; }
  void readahead(std::uint64_t, std::uint64_t) override { filesystem_.readahead(); }
  void drop_cached(std::uint64_t, std::uint64_t) override {}

 private:
  MemoryFilesystem& filesystem_;
  const FileKey key_;
};

class MemoryTemporaryFile final : public TemporaryFile {
 public:
  MemoryTemporaryFile(MemoryFilesystem& filesystem, FileKey key)
      : filesystem_(filesystem), key_(key) {}
  MemoryTemporaryFile(const MemoryTemporaryFile&) = delete;
  MemoryTemporaryFile& operator=(const MemoryTemporaryFile&) = delete;
  ~MemoryTemporaryFile() override { filesystem_.close(key_); }
  FileKey key() const override { return key_; }
  absl::StatusOr<std::size_t> read(std::uint64_t offset, std::span<std::byte> out) override {
    return filesystem_.read(key_, offset, out);
  }
  // There is no page cache.
  std::vector<bool> cached_pages(std::uint64_t, std::uint64_t) override { return {}; }
  void readahead(std::uint64_t, std::uint64_t) override { filesystem_.readahead(); }
  void drop_cached(std::uint64_t, std::uint64_t) override {}
  absl::Status write(std::uint64_t offset, std::span<const std::byte> data) override {
    return filesystem_.write_temporary(key_, offset, data);
  }
  void start_writeback() override { filesystem_.start_writeback(key_); }
  absl::Status truncate(std::uint64_t size) override {
    return filesystem_.truncate_temporary(key_, size);
  }

 private:
  MemoryFilesystem& filesystem_;
  const FileKey key_;
};

}  // namespace skep::btrfs
