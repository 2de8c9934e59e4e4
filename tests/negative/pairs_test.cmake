# Can pairs.cmake fail? Gives it a good pair, then one that is wrong in each way it knows.
#
#   cmake -DCOMPILER=g++ -DWORK=folder -P tests/negative/pairs_test.cmake
cmake_minimum_required(VERSION 3.25)

set(failures 0)
function(pair name expected)
  list(JOIN ARGN "\n" text)
  file(REMOVE_RECURSE "${WORK}/pairs")
  file(MAKE_DIRECTORY "${WORK}/pairs")
  if(text)
    file(WRITE "${WORK}/pairs/pair.cpp" "${text}\n")
  endif()
  execute_process(
    COMMAND "${CMAKE_COMMAND}" "-DCOMPILER=${COMPILER}" "-DINCLUDE=${WORK}" "-DPAIRS=${WORK}/pairs" "-DWORK=${WORK}/work" -P "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/pairs.cmake"
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if((expected STREQUAL "nothing" AND NOT result EQUAL 0) OR (NOT expected STREQUAL "nothing" AND (result EQUAL 0 OR NOT output MATCHES "${expected}")))
    math(EXPR failures "${failures} + 1")
    set(failures ${failures} PARENT_SCOPE)
    message(NOTICE "${name}: expected ${expected}, it ended with ${result} and said:\n${output}")
  endif()
endfunction()

set(refusal "#ifdef WRONG" "static_assert(false, \"too small\")\;" "#endif")
pair("a good pair" nothing "// expect: too small" ${refusal})
pair("a twin that does not compile" "the twin must compile, and doesn't" "// expect: too small" ${refusal} "nonsense")
pair("a twin with a warning" "the twin must compile, and doesn't" "// expect: too small" ${refusal} "bool less(int a, unsigned b) { return a < b\; }")
pair("a program that compiles" "compiles, and must not" "// expect: too small" "int x\;")
pair("another error" "but not with the words .too large." "// expect: too large" ${refusal})
pair("no words" "no line says" ${refusal})
pair("no pair" "holds no pair" "")
if(failures)
  message(FATAL_ERROR "${failures} cases went wrong.")
endif()
