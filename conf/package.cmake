# SPDX-License-Identifier: MIT
# `cpack`: the Debian package, of a build configured in any way; with --config CPackSourceConfig.cmake the source
# tarball. scripts/package makes both.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_VENDOR "The skep authors")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "background deduplicator for btrfs")
set(CPACK_PACKAGE_DESCRIPTION "Finds blocks that a mounted btrfs filesystem stores more than once, and
makes the files share one copy: once, or as a service that follows what is
written. It reads the checksums that btrfs has stored instead of the data,
works in all subvolumes and snapshots, and never writes to files: the
kernel compares and shares.")
# As Debian's own tools have it; whoever gives packages to others puts an address of theirs here.
set(SKEP_PACKAGE_CONTACT "The skep authors <skep@example.org>" CACHE STRING "The maintainer of the package")
set(CPACK_PACKAGE_CONTACT "${SKEP_PACKAGE_CONTACT}")

# Below /, whatever the build's own prefix: what is in /etc stays there.
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/debian/stage.cmake)

set(debian ${CMAKE_CURRENT_LIST_DIR}/debian)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# Its user and its folders.
set(CPACK_DEBIAN_PACKAGE_DEPENDS
  "systemd | systemd-standalone-sysusers, systemd | systemd-standalone-tmpfiles")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${debian}/conffiles ${debian}/postinst ${debian}/prerm ${debian}/postrm)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(CPACK_SOURCE_GENERATOR TGZ)
set(CPACK_SOURCE_PACKAGE_FILE_NAME skep-${PROJECT_VERSION})
set(CPACK_SOURCE_IGNORE_FILES "^${PROJECT_SOURCE_DIR}/build/" "^${PROJECT_SOURCE_DIR}/\\\\.git(/|$)" __pycache__)
include(CPack)
