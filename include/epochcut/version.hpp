// Which version is this? The one place: CMake reads it from here. While it is 0.x, a minor version may change the interface.
#pragma once

#define EPOCHCUT_VERSION_MAJOR 0
#define EPOCHCUT_VERSION_MINOR 1
#define EPOCHCUT_VERSION_PATCH 0
