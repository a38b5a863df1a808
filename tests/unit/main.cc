// SPDX-License-Identifier: MIT
// The main function, which comes from here for Catch2 2, and from its library for Catch2 3.
#define CATCH_CONFIG_MAIN
#include "catch.h"
