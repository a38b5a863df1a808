// SPDX-License-Identifier: MIT
#include "target.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "skep/btrfs/filesystem_uuid.h"
#include "skep/btrfs/kernel_version.h"
#include "skep/btrfs/open_subvolume.h"
#include "skep/btrfs/status.h"
#include "skep/service/exit_status.h"
#include "skep/service/mounts.h"

#ifndef STATX_ATTR_MOUNT_ROOT
#define STATX_ATTR_MOUNT_ROOT 0x2000
#endif

namespace skep::service {
namespace {

// Descriptors kept open while unused; each batch needs some hundreds at a time.
constexpr rlim_t kOpenFiles = 2048;

Refusal refusal(int exit_status, std::string message) { return {exit_status, std::move(message)}; }

Refusal refuse_open(const std::string& mount, const absl::Status& status) {
  switch (errno_of(status)) {
    case EROFS:
      return refusal(
          kExitUnsupported,
          fmt::format("{}: mounted read-only; mount it read-write to share blocks", mount));
    case EPERM:
    case EACCES:
      return refusal(kExitUnsupported,
                     fmt::format("{}: no privilege; run as root, or with CAP_SYS_ADMIN, "
                                 "CAP_DAC_READ_SEARCH and CAP_FOWNER",
                                 mount));
    default:
      return refusal(absl::IsUnimplemented(status) ? kExitUnsupported : kExitFailed,
                     std::string(message_of(status)));
  }
}

// Of a filesystem that is not read-only itself.
Refusal refuse_read_only_mounts(const std::string& filesystem, const std::string& mount) {
  const auto& needed = btrfs::facts_of(btrfs::KernelFeature::kWritableMount);
  return refusal(
      kExitUnsupported,
      fmt::format("{}: all its mounts are read-only here, and skep cannot make one of its own that "
                  "is not ({}, since Linux {}); mount it read-write, or give the service "
                  "ReadWritePaths={}",
                  filesystem, needed.what, needed.since, mount));
}

// The caller has named what is not there, or what they may not reach.
bool is_of_the_name(int error) {
  return error == ENOENT || error == ENOTDIR || error == ELOOP || error == ENAMETOOLONG ||
         error == EACCES;
}

std::size_t raise_open_files() {
  struct rlimit limit {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 256;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, kOpenFiles * 2);
  setrlimit(RLIMIT_NOFILE, &limit);
  // The other half is for files in use at one time.
  return std::min<rlim_t>(kOpenFiles, limit.rlim_cur / 2);
}

// tree search, LOGICAL_INO and sharing; opening by handle; O_NOATIME on other users' files
bool has_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  if (syscall(SYS_capget, &header, data) != 0) return false;
  for (const int capability : {CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH, CAP_FOWNER}) {
    if (!(data[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability))) return false;
  }
  return true;
}

}  // namespace

Refusal check_mount(const std::string& mount) {
  struct statx st {};
  struct statfs vfs {};
  if (statx(AT_FDCWD, mount.c_str(), 0, STATX_TYPE, &st) != 0 || statfs(mount.c_str(), &vfs) != 0) {
    return refusal(is_of_the_name(errno) ? kExitUsage : kExitFailed,
                   fmt::format("{}: {}", mount, std::strerror(errno)));
  }
  if (!S_ISDIR(st.stx_mode) || ((st.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) &&
                                !(st.stx_attributes & STATX_ATTR_MOUNT_ROOT))) {
    return refusal(kExitUsage,
                   fmt::format("{}: not a mount point; name the directory where the filesystem is "
                               "mounted (findmnt --target {} shows it)",
                               mount, mount));
  }
  if (static_cast<unsigned long>(vfs.f_type) != BTRFS_SUPER_MAGIC) {
    return refusal(kExitUnsupported, fmt::format("{}: not a btrfs filesystem", mount));
  }
  return {};
}

MountedFilesystem filesystem_of_mount(const std::string& mount) {
  if (auto refusal = check_mount(mount); refusal.exit_status != 0) return {refusal, {}};
  const auto filesystem = btrfs::filesystem_uuid(mount);
  if (filesystem.ok()) return {{}, *filesystem};
  const bool denied = errno_of(filesystem.status()) == EACCES;
  return {refusal(denied ? kExitUnsupported : kExitFailed,
                  std::string(message_of(filesystem.status()))),
          {}};
}

MountedFilesystem filesystem_named(const std::string& name) {
  if (const auto uuid = btrfs::parse_uuid(name)) return {{}, *uuid};
  return filesystem_of_mount(name);
}

bool has_temporary_uuid(const btrfs::Uuid& filesystem) {
  std::ifstream file("/sys/fs/btrfs/" + btrfs::to_string(filesystem) + "/temp_fsid");
  int value = 0;
  return file >> value && value == 1;
}

std::uint64_t subvolume_named(const std::string& path) {
  const auto root = btrfs::subvolume_at(path);
  return root.ok() ? root->value_or(0) : 0;
}

Target open_target(const std::string& name, Purpose purpose) {
  using Flags = btrfs::KernelFilesystem::Flags;
  const auto kernel = btrfs::judge_running_kernel();
  if (kernel.kind == btrfs::KernelVerdict::Kind::kRefuse) {
    return {refusal(kExitUnsupported, kernel.reason), nullptr};
  }
  if (kernel.kind == btrfs::KernelVerdict::Kind::kWarn) spdlog::warn("{}", kernel.reason);
  std::string mount = name;
  bool filesystem_read_only = false;
  auto flags = purpose == Purpose::kLook ? Flags::kReadOnlyWillDo : Flags::kAsMounted;
  if (const auto uuid = btrfs::parse_uuid(name)) {
    // The filesystem is meant, not this mount of it.
    if (purpose == Purpose::kWork) flags = Flags::kWritable;
    const auto found = mount_of(*uuid);
    if (!found) return {refusal(kExitUsage, fmt::format("{}: not mounted", name)), nullptr};
    mount = found->path;
    filesystem_read_only = found->filesystem_read_only;
  }
  std::uint64_t subvolume = 0;
  if (auto refusal = check_mount(mount); refusal.exit_status != 0) {
    subvolume = subvolume_named(mount);
    if (subvolume == 0) return {refusal, nullptr};
  }
  if (!has_capabilities())
    return {refuse_open(mount, errno_status(EPERM, "capget", mount)), nullptr};
  auto opened = btrfs::KernelFilesystem::open_mount(mount, raise_open_files(), flags);
  if (flags == Flags::kWritable && !filesystem_read_only && errno_of(opened.status()) == EROFS) {
    return {refuse_read_only_mounts(name, mount), nullptr};
  }
  if (!opened.ok()) return {refuse_open(mount, opened.status()), nullptr};
  if (purpose == Purpose::kLook) return {{}, *std::move(opened)};
  auto locked = (*opened)->lock_exclusively();
  if (!locked.ok() && !absl::IsUnavailable(locked)) return {refuse_open(mount, locked), nullptr};
  if (!locked.ok()) {
    return {refusal(kExitFailed,
                    fmt::format("{}: another skep works on this filesystem; wait for it or stop it",
                                mount)),
            nullptr, true};
  }
  return {{}, *std::move(opened), false, subvolume};
}

}  // namespace skep::service
