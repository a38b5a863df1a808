// SPDX-License-Identifier: MIT
//
// Who owns the files that skep keeps. Thread-safe.
#pragma once

#include <string>

namespace skep::btrfs {

// Gives a file to the owner of the folder it was just made in: root may look after files that a
// service without privilege over them has to write. Changes nothing where that is not permitted.
void give_to_owner_of_folder(int fd, const std::string& path);

}  // namespace skep::btrfs
