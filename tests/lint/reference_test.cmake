# Can reference.cmake fail? Makes a small repository and its page, then changes what the page is made of, one thing at a time.
#
#   cmake [-DWORK=folder] -P tests/lint/reference_test.cmake
cmake_minimum_required(VERSION 3.25)

if(NOT DEFINED WORK)
  string(RANDOM LENGTH 12 suffix)
  set(temporary "$ENV{TMPDIR}")
  if(NOT temporary)
    set(temporary /tmp)
  endif()
  set(WORK "${temporary}/epochcut-reference-${suffix}")
endif()
set(failures 0)
macro(complain)
  math(EXPR failures "${failures} + 1")
  message(NOTICE "${ARGV0}")
endmacro()
function(page result)
  execute_process(COMMAND "${CMAKE_COMMAND}" "-DROOT=${WORK}" ${ARGN} -P "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/reference.cmake"
    RESULT_VARIABLE code OUTPUT_QUIET ERROR_QUIET)
  set(${result} ${code} PARENT_SCOPE)
endfunction()

set(list "set(HEADERS\n  epochcut/core/a.hpp\n  epochcut/b.hpp)\n")
set(header [=[
// Which question?
// Layer: core.
#pragma once
namespace epochcut {
namespace inner {
/// Nobody's business.
inline int hidden(int a) { return a; }
}  // namespace inner
/// A pair; of two [things].
struct Pair {
  int a = 0;
  /// Their sum.
  int sum(int more = int(1)) const { return a + more; }
};
/// Holds one.
template <class T>
class Holder {
 public:
  /// Opens it.
  explicit Holder(T value = {}) : value_(value) {}
  Holder(const Holder&) = delete;

 private:
  /// Not for users.
  void secret();
  T value_;
};
inline constexpr int limit_max = 3;  ///< a reason
concept Big = true;
}  // namespace epochcut
]=])
function(repository)
  file(REMOVE_RECURSE "${WORK}")
  file(WRITE "${WORK}/CMakeLists.txt" "${list}")
  file(WRITE "${WORK}/include/epochcut/core/a.hpp" "${header}")
  file(WRITE "${WORK}/include/epochcut/b.hpp" "// Another?\n#define EPOCHCUT_B 1\n")
  page(result -DWRITE=ON)
endfunction()

repository()
page(result)
if(NOT result EQUAL 0)
  complain("a page just made is called stale")
endif()
file(READ "${WORK}/docs/reference.md" text)
foreach(wanted IN ITEMS "## core\n\n### [epochcut/core/a.hpp](../include/epochcut/core/a.hpp)\n\nWhich question?\n" "- `struct Pair` — A pair; of two [things].\n"
    "- `Pair: int sum(int more = int(1)) const` — Their sum.\n" "- `class Holder` — Holds one.\n" "- `Holder: Holder(T value = {})` — Opens it.\n"
    "- `int limit_max`\n" "- `concept Big`\n" "- `EPOCHCUT_B`\n")
  string(FIND "${text}" "${wanted}" at)
  if(at EQUAL -1)
    complain("the page lacks: ${wanted}")
  endif()
endforeach()
if(text MATCHES "hidden|secret|delete|int a")
  complain("the page tells what is not public: ${CMAKE_MATCH_0}")
endif()

foreach(change IN ITEMS "Which question?:What now?" "Their sum.:Their total." "int sum:long sum" "limit_max:size_max")
  string(REPLACE ":" ";" change "${change}")
  list(GET change 0 old)
  list(GET change 1 new)
  repository()
  string(REPLACE "${old}" "${new}" changed "${header}")
  file(WRITE "${WORK}/include/epochcut/core/a.hpp" "${changed}")
  page(result)
  if(result EQUAL 0)
    complain("'${new}' for '${old}' goes unnoticed")
  endif()
endforeach()
repository()
file(WRITE "${WORK}/CMakeLists.txt" "set(HEADERS\n  epochcut/core/a.hpp)\n")
page(result)
if(result EQUAL 0)
  complain("a header that left goes unnoticed")
endif()
repository()
file(REMOVE "${WORK}/docs/reference.md")
page(result)
if(result EQUAL 0)
  complain("a page that is not there goes unnoticed")
endif()

file(REMOVE_RECURSE "${WORK}")
if(failures)
  message(FATAL_ERROR "${failures} cases went wrong.")
endif()
