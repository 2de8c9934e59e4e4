// Not fmt: a project's own, under its name.
#pragma once
namespace fmt {
inline int ours() { return 1; }
}  // namespace fmt
