# A lint that can't fail is a bug: makes a good tree, breaks it in each way that include_order.cmake knows, and checks
# that it is found and named.
#
#   cmake [-DWORK=folder] -P tests/lint/include_order_test.cmake
cmake_minimum_required(VERSION 3.25)

if(NOT DEFINED WORK)
  string(RANDOM LENGTH 12 suffix)
  set(temporary "$ENV{TMPDIR}")
  if(NOT temporary)
    set(temporary /tmp)
  endif()
  set(WORK "${temporary}/epochcut-lint-${suffix}")
endif()
set(tree "${WORK}/tree")
set(failures 0)
set(cases 0)

# core/a < core/b < cut/c < diff/d < verdict/e < source/s < testing/t < format
set(good_list epochcut/core/a.hpp epochcut/core/b.hpp epochcut/cut/c.hpp epochcut/diff/d.hpp epochcut/verdict/e.hpp
  epochcut/source/s.hpp epochcut/testing/t.hpp epochcut/format.hpp)

macro(good_tree)
  file(REMOVE_RECURSE "${tree}")
  set(list ${good_list})
  header(core/a.hpp "#include <cstdint>" "// #include <memory>" "int values[2]; // a [ and a ; are no trouble")
  header(core/b.hpp "#include <epochcut/core/a.hpp>")
  header(cut/c.hpp "  #  include <epochcut/core/b.hpp>  // indented")
  header(diff/d.hpp "#include <epochcut/cut/c.hpp>" "#include <vector>")
  header(verdict/e.hpp "#include <epochcut/diff/d.hpp>")
  header(source/s.hpp "#include <epochcut/verdict/e.hpp>" "#include <curl/curl.h>" "#include <libpq-fe.h>" "#include <memory>")
  header(testing/t.hpp "#include <epochcut/source/s.hpp>" "#include <thread>")
  header(format.hpp "#include <epochcut/verdict/e.hpp>" "#include <fmt/format.h>")
endmacro()

function(header path)
  list(JOIN ARGN "\n" text)
  file(WRITE "${tree}/include/epochcut/${path}" "#pragma once\n${text}\n")
endfunction()

function(lint name expected)
  list(JOIN list "\n" lines)
  file(WRITE "${WORK}/headers.txt" "${lines}\n")
  execute_process(
    COMMAND "${CMAKE_COMMAND}" "-DHEADERS=${WORK}/headers.txt" "-DROOT=${tree}/include" -P "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/include_order.cmake"
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  set(right FALSE)
  if(expected STREQUAL "nothing")
    if(result EQUAL 0)
      set(right TRUE)
    endif()
  elseif(NOT result EQUAL 0 AND output MATCHES "${expected}" AND output MATCHES "include lint: 1 violations")
    set(right TRUE)
  endif()
  math(EXPR cases "${cases} + 1")
  set(cases ${cases} PARENT_SCOPE)
  if(NOT right)
    math(EXPR failures "${failures} + 1")
    set(failures ${failures} PARENT_SCOPE)
    message(NOTICE "${name}: expected ${expected} alone, the lint ended with ${result} and said:\n${output}")
  endif()
endfunction()

good_tree()
lint("a good tree" "nothing")

good_tree()
header(core/a.hpp "#include <epochcut/core/b.hpp>")
header(core/b.hpp "#include <cstdint>")
lint("an include of a later header" "core/a.hpp includes epochcut/core/b.hpp, which stands after it")

good_tree()
header(core/a.hpp "#include \"epochcut/cut/c.hpp\"")
lint("the same in quotes" "core/a.hpp includes epochcut/cut/c.hpp, which stands after it")

good_tree()
header(core/a.hpp "#include <epochcut/core/a.hpp>")
lint("an include of itself" "core/a.hpp includes itself")

good_tree()
header(core/b.hpp "#include <epochcut/core/nowhere.hpp>")
lint("an include of an unknown header" "includes epochcut/core/nowhere.hpp, which is not in the list")

good_tree()
header(core/b.hpp "#include \"a.hpp\"")
lint("an include by a relative path" "core/b.hpp includes \"a.hpp\" by a path of its own")

good_tree()
header(core/b.hpp "#include A_MACRO")
lint("an include by a macro" "core/b.hpp includes what a macro expands to")

good_tree()
header(core/stray.hpp)
lint("a header that is not listed" "core/stray.hpp is on disk but not in the list")

good_tree()
file(REMOVE "${tree}/include/epochcut/format.hpp")
lint("a listed header that is not there" "format.hpp is in the list but not on disk")

good_tree()
list(APPEND list epochcut/format.hpp)
lint("a header listed twice" "format.hpp stands in the list twice")

good_tree()
header(diff/d.hpp)
header(verdict/e.hpp)
set(list epochcut/core/a.hpp epochcut/core/b.hpp epochcut/cut/c.hpp epochcut/verdict/e.hpp epochcut/diff/d.hpp
  epochcut/source/s.hpp epochcut/testing/t.hpp epochcut/format.hpp)
lint("a folder below its layer" "diff/d.hpp stands in the list after epochcut/verdict/e.hpp")

good_tree()
string(REPEAT "// filler\n" 2600 filler)
header(source/s.hpp "${filler}")
lint("a header that is too long" "source/s.hpp has [0-9]+ bytes, more than 25600")

# A leaf listed first, so that only the leaf rule can object.
foreach(pair IN ITEMS core/a.hpp:core cut/c.hpp:cut diff/d.hpp:diff verdict/e.hpp:verdict)
  string(REPLACE ":" ";" pair ${pair})
  list(GET pair 0 path)
  list(GET pair 1 layer)
  foreach(leaf IN ITEMS source/s.hpp testing/t.hpp format.hpp)
    good_tree()
    header(${leaf})
    header(${path} "#include <epochcut/${leaf}>")
    list(REMOVE_ITEM list epochcut/${leaf})
    list(PREPEND list epochcut/${leaf})
    lint("${leaf} in ${layer}/" "${path} includes epochcut/${leaf}, a leaf: nothing in ${layer}/")
  endforeach()
  foreach(leaf IN ITEMS libpq-fe.h libpq/libpq-fs.h curl/curl.h fmt/format.h fmt/core.h)
    good_tree()
    header(${path} "#include <${leaf}>")
    lint("${leaf} in ${layer}/" "${path} includes ${leaf}, a leaf: nothing in ${layer}/")
  endforeach()
  foreach(heavy IN ITEMS memory functional thread stop_token iostream sstream regex)
    good_tree()
    header(${path} "#include <${heavy}>")
    lint("<${heavy}> in ${layer}/" "${path} includes <${heavy}>, which is too heavy for ${layer}/")
  endforeach()
endforeach()

good_tree()
set(list)
file(REMOVE_RECURSE "${tree}/include")
file(MAKE_DIRECTORY "${tree}/include")
lint("an empty list" "the list of headers is empty")

file(REMOVE_RECURSE "${WORK}")
if(failures)
  message(FATAL_ERROR "include lint: ${failures} of ${cases} cases went wrong.")
endif()
message(STATUS "include lint: all ${cases} cases as expected.")
