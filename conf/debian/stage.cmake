# SPDX-License-Identifier: MIT
# What Debian wants otherwise than `cmake --install` does it; run by cpack on what is about to be packed.
if(NOT CPACK_GENERATOR STREQUAL "DEB")
  return()
endif()
set(share ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/usr/share)
set(readable FILE_PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)

string(TIMESTAMP date "%a, %d %b %Y %H:%M:%S +0000" UTC)
configure_file(${CMAKE_CURRENT_LIST_DIR}/changelog.in ${share}/doc/skep/changelog.Debian @ONLY ${readable})
configure_file(${CMAKE_CURRENT_LIST_DIR}/copyright ${share}/doc/skep/copyright COPYONLY ${readable})
file(RENAME ${share}/doc/skep/CHANGELOG.md ${share}/doc/skep/changelog)
file(RENAME ${share}/zsh/site-functions ${share}/zsh/vendor-completions)

file(GLOB compressed ${share}/man/*/* ${share}/doc/skep/changelog*)
execute_process(COMMAND gzip -9 --no-name ${compressed} COMMAND_ERROR_IS_FATAL ANY)

# Whatever the umask.
file(GLOB_RECURSE paths LIST_DIRECTORIES true ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/*)
foreach(path ${paths})
  if(IS_DIRECTORY ${path})
    file(CHMOD ${path} PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ
      WORLD_EXECUTE)
  endif()
endforeach()
