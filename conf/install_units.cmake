# SPDX-License-Identifier: MIT
# Run by `cmake --install`: the units name the program by its full path, and only now is it known below which
# prefix that will be (--prefix, packages). Written in place: two installations of one build may run at a time.
cmake_path(ABSOLUTE_PATH SKEP_BINDIR BASE_DIRECTORY "${CMAKE_INSTALL_PREFIX}")
cmake_path(ABSOLUTE_PATH SKEP_UNIT_DIR BASE_DIRECTORY "${CMAKE_INSTALL_PREFIX}")
foreach(unit skepd@.service skep-once@.service)
  set(path $ENV{DESTDIR}${SKEP_UNIT_DIR}/${unit})
  message(STATUS "Installing: ${path}")
  configure_file(${SKEP_CONF_DIR}/${unit}.in ${path} @ONLY FILE_PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
  list(APPEND CMAKE_INSTALL_MANIFEST_FILES ${SKEP_UNIT_DIR}/${unit})
endforeach()
