// SPDX-License-Identifier: MIT
//
// File on a descriptor. Thread-safe but for TemporaryFile's own methods (see filesystem.h).
#pragma once

#include <absl/functional/function_ref.h>

#include <string>
#include <vector>

#include "skep/btrfs/descriptor.h"
#include "skep/btrfs/filesystem.h"

namespace skep::btrfs {

// `name` is asked for the name of the file when there is an error to tell.
absl::StatusOr<std::size_t> read_fully(int fd, absl::FunctionRef<std::string()> name,
                                       std::uint64_t offset, std::span<std::byte> out);
absl::StatusOr<std::size_t> read_fully(int fd, FileKey key, std::uint64_t offset,
                                       std::span<std::byte> out);
std::vector<bool> cached_pages(int fd, std::uint64_t offset, std::uint64_t length);
void drop_cached(int fd, std::uint64_t offset, std::uint64_t length);
void start_readahead(int fd, std::uint64_t offset, std::uint64_t length);

class KernelFile final : public File {
 public:
  KernelFile(FileKey key, Descriptor fd) : key_(key), fd_(std::move(fd)) {}
  FileKey key() const override { return key_; }
  int fd() const { return fd_.get(); }
  absl::StatusOr<std::size_t> read(std::uint64_t offset, std::span<std::byte> out) override {
    return read_fully(fd_.get(), key_, offset, out);
  }
  std::vector<bool> cached_pages(std::uint64_t offset, std::uint64_t length) override {
    return skep::btrfs::cached_pages(fd_.get(), offset, length);
  }
  void readahead(std::uint64_t offset, std::uint64_t length) override {
    start_readahead(fd_.get(), offset, length);
  }
  void drop_cached(std::uint64_t offset, std::uint64_t length) override {
    skep::btrfs::drop_cached(fd_.get(), offset, length);
  }

 private:
  const FileKey key_;
  const Descriptor fd_;
};

class KernelTemporaryFile final : public TemporaryFile {
 public:
  KernelTemporaryFile(FileKey key, Descriptor fd) : key_(key), fd_(std::move(fd)) {}
  FileKey key() const override { return key_; }
  int fd() const { return fd_.get(); }
  absl::StatusOr<std::size_t> read(std::uint64_t offset, std::span<std::byte> out) override {
    return read_fully(fd_.get(), key_, offset, out);
  }
  std::vector<bool> cached_pages(std::uint64_t offset, std::uint64_t length) override {
    return skep::btrfs::cached_pages(fd_.get(), offset, length);
  }
  void readahead(std::uint64_t offset, std::uint64_t length) override {
    start_readahead(fd_.get(), offset, length);
  }
  void drop_cached(std::uint64_t offset, std::uint64_t length) override {
    skep::btrfs::drop_cached(fd_.get(), offset, length);
  }
  absl::Status write(std::uint64_t offset, std::span<const std::byte> data) override;
  void start_writeback() override;
  absl::Status truncate(std::uint64_t size) override;

 private:
  const FileKey key_;
  const Descriptor fd_;
};

}  // namespace skep::btrfs
