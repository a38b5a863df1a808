// SPDX-License-Identifier: MIT
#include "skep/btrfs/owner.h"

#include <sys/stat.h>
#include <unistd.h>

namespace skep::btrfs {

void give_to_owner_of_folder(int fd, const std::string& path) {
  if (geteuid() != 0) return;
  const auto slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  struct stat st {};
  if (stat(folder.c_str(), &st) == 0 && st.st_uid != 0) (void)!fchown(fd, st.st_uid, st.st_gid);
}

}  // namespace skep::btrfs
