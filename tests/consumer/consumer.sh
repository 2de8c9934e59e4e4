#!/bin/sh
# Does epochcut behave in other people's projects?
#
#   sh tests/consumer/consumer.sh CASE REPOSITORY WORK
#
# CASE  install    the package, installed into a prefix that is then moved elsewhere; `packaged` needs it
#       packaged   found there: component by component, by version, without the dependencies it does not need
#       fetched    vendored as the README says: everything in two translation units, every warning an error
#       vendored   the core alone from an archive: C++23, a fmt of the project's own, no libpq, no libcurl
#       fallback   fmt, Catch2 and Google Benchmark are not installed: the stand-in sources are taken
# Environment: CMAKE, CTEST, CXX; CMAKE_GENERATOR and CMAKE_CXX_COMPILER_LAUNCHER are CMake's own.
set -u
[ $# -eq 3 ] || { sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; exit 2; }
repository=$2 here=$2/tests/consumer work=$3
cmake=${CMAKE:-cmake} ctest=${CTEST:-ctest}
[ -n "${CMAKE_CXX_COMPILER_LAUNCHER:-}" ] || unset CMAKE_CXX_COMPILER_LAUNCHER
mkdir -p "$work" || exit 1
work=$(cd "$work" && pwd) || exit 1
log=$work/$1.log
wrong=0

say() { printf '%s\n' "$*"; }
complain() {
  say "WRONG: $*"
  [ ! -s "$log" ] || sed 's/^/    /' "$log"
  wrong=1
}
# The last command's output, on one line: CMake wraps its messages.
said() { tr -s ' \n' '  ' <"$log" | grep -q -- "$1"; }

configure() { # SOURCE FOLDER OPTION...; leaves what CMake said in the log
  configure_source=$1 configure_folder=$2
  shift 2
  "$cmake" -S "$configure_source" -B "$work/$configure_folder" -DCMAKE_CXX_FLAGS=-O0 "$@" >"$log" 2>&1
}
must() { # SENTENCE COMMAND...
  must_sentence=$1
  shift
  "$@" || complain "$must_sentence"
}
must_say() { said "$1" || complain "it must say: $1"; }
must_not_say() { said "$1" && complain "it must not say: $1"; }
refused() { # SENTENCE SOURCE FOLDER OPTION...: configuring must fail, with this sentence
  refused_sentence=$1
  shift
  configure "$@" && complain "it must be refused: $refused_sentence"
  must_say "$refused_sentence"
}
# shellcheck disable=SC2317 # called by must
build() { "$cmake" --build "$work/$1" >"$log" 2>&1; }
# shellcheck disable=SC2317
run() { "$@" >"$log" 2>&1; }

# A folder with what a user gets: nothing of tests, examples or benchmarks.
only_library() {
  rm -rf "${work:?}/$1" && mkdir "$work/$1" && cp -R "$repository/CMakeLists.txt" "$repository/include" "$work/$1"
}
without='-DCMAKE_DISABLE_FIND_PACKAGE_PostgreSQL=ON -DCMAKE_DISABLE_FIND_PACKAGE_CURL=ON -DCMAKE_DISABLE_FIND_PACKAGE_fmt=ON'

case_install() {
  rm -rf "$work/build-install" "$work/first" "$work/moved"
  only_library library
  must "it does not configure" configure "$work/library" build-install -DCMAKE_INSTALL_PREFIX="$work/first" -DEPOCHCUT_BUILD_TESTS=OFF -DEPOCHCUT_BUILD_EXAMPLES=OFF
  must "it does not install" run "$cmake" --install "$work/build-install"
  must "the prefix can't be moved" mv "$work/first" "$work/moved"
  grep -rn "$work\|$repository" "$work/moved" >"$log" && complain "the package names folders of the machine that made it"
  # All headers, and nothing else but the package files.
  (cd "$work/moved" && find . -type f ! -path '*/cmake/epochcut/*' | sed 's,^./include/,,' | sort) >"$work/installed.txt"
  (cd "$repository/include" && find . -name '*.hpp' ! -name chdb.hpp | sed 's,^./,,' | sort) >"$work/expected.txt"
  grep -v '/chdb\.hpp$' "$work/installed.txt" | diff - "$work/expected.txt" >"$log" || complain "the installed files are not the headers"
}

case_packaged() {
  rm -rf "$work/build-packaged"
  moved=-DCMAKE_PREFIX_PATH=$work/moved
  find_it() { # WANTED OPTION...
    wanted=$1
    shift
    configure "$here/packaged" build-packaged "$moved" -UPostgreSQL_* -UCURL_* -Ufmt_* -UEPOCHCUT_* -DOWN_FMT=OFF -DBUILD=OFF -DWANTED="$wanted" "$@"
  }
  not_found() { # SENTENCE WANTED OPTION...
    sentence=$1
    shift
    find_it "$@" && complain "it must be refused: $sentence"
    must_say "$sentence"
  }
  # shellcheck disable=SC2086 # lists of options
  {
    must "the core is not found without libpq, libcurl and fmt" find_it "REQUIRED" $without
    must_say 'targets: epochcut::epochcut *--'
    must "the core is no component" find_it "REQUIRED;COMPONENTS;epochcut;testing" $without
    must_say 'targets: epochcut::epochcut;epochcut::testing *--'
    not_found "epochcut's component postgres needs PostgreSQL, which was not found" "REQUIRED;COMPONENTS;postgres" $without
    not_found "epochcut's component clickhouse needs CURL, which was not found" "REQUIRED;COMPONENTS;clickhouse" $without
    not_found "epochcut's component format needs fmt 9, which was not found" "REQUIRED;COMPONENTS;format" $without
    must "what is optional is required" find_it "REQUIRED;COMPONENTS;epochcut;OPTIONAL_COMPONENTS;postgres" $without
    must_say 'found: 1 .*postgres: FALSE'
    # CMake remembers a package that it was told not to find.
    without_none='-DCMAKE_DISABLE_FIND_PACKAGE_PostgreSQL=OFF -DCMAKE_DISABLE_FIND_PACKAGE_CURL=OFF -DCMAKE_DISABLE_FIND_PACKAGE_fmt=OFF'
    must "postgres is not found" find_it "REQUIRED;COMPONENTS;postgres" $without_none
    must_say 'targets: epochcut::epochcut;epochcut::postgres;PostgreSQL::PostgreSQL *--'
    must "clickhouse is not found" find_it "REQUIRED;COMPONENTS;clickhouse"
    must_say 'targets: epochcut::epochcut;epochcut::clickhouse;CURL::libcurl *--'
    must "format is not found" find_it "REQUIRED;COMPONENTS;format"
    must_say 'targets: epochcut::epochcut;epochcut::format;fmt::fmt *--'
    must "a project's own fmt is fought" find_it "REQUIRED;COMPONENTS;format" -DOWN_FMT=ON
    not_found "epochcut was installed without a component mysql; it has epochcut, testing, postgres, clickhouse" "REQUIRED;COMPONENTS;epochcut;mysql"

    version=$(sed -n 's/.*EPOCHCUT_VERSION_\(MAJOR\|MINOR\|PATCH\) //p' "$repository/include/epochcut/version.hpp" | paste -sd.)
    major=${version%%.*} patch=${version##*.} minor=${version#*.}
    minor=${minor%.*}
    for good in "$major.$minor" "$version"; do
      must "version $good is not found" find_it "$good;REQUIRED"
      must_say "found: 1 $version"
    done
    for bad in 99 "$major.$((minor + 1))" "$major.0" "$major.$minor.$((patch + 1))" $((major + 1)).0; do
      [ "$bad" = "$major.$minor" ] || not_found "compatible with requested version \"$bad\"" "$bad;REQUIRED"
    done
  }
  must "the docs' components are not found" find_it "" -DBUILD=ON
  must "a program does not build against the package" build build-packaged
  must "it does not run" run "$work/build-packaged/your_check"
}

case_fetched() {
  rm -rf "$work/build-fetched"
  only_library host
  # CMake 3.25 takes a SYSTEM that stands last for git's: only a real clone shows it.
  (cd "$work/host" && git init -q . && git add . && git -c user.name=test -c user.email=test@example.org commit -qm "All of it" && git tag v0.1.0) >"$log" 2>&1 ||
    complain "no repository"
  GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=url.file://$work/host.insteadOf GIT_CONFIG_VALUE_0=https://your.host/epochcut.git
  export GIT_CONFIG_COUNT GIT_CONFIG_KEY_0 GIT_CONFIG_VALUE_0
  must "it does not configure" configure "$here/fetched" build-fetched
  [ -f "$work/build-fetched/_deps/epochcut-src/include/epochcut/epochcut.hpp" ] || complain "the README's declaration fetches nothing"
  grep -c '#include' "$work/build-fetched/everything.hpp" >"$log"
  [ "$(cat "$log")" -gt 30 ] || complain "everything.hpp includes next to nothing"
  must "it does not build" build build-fetched
  must "it does not run" run "$work/build-fetched/your_check"
}

case_vendored() {
  rm -rf "$work/build-vendored" "$work/prefix-vendored"
  only_library archive
  (cd "$work" && "$cmake" -E tar czf archive.tar.gz archive) || complain "no archive"
  # shellcheck disable=SC2086 # a list of options
  must "it does not configure" configure "$here/vendored" build-vendored -DARCHIVE="$work/archive.tar.gz" -DCMAKE_INSTALL_PREFIX="$work/prefix-vendored" $without
  must_say 'libpq was not found, so there is no epochcut::postgres'
  must_say 'libcurl was not found, so there is no epochcut::clickhouse'
  must_say 'epochcut::format uses epochcut;fmt::fmt, which is our_fmt'
  grep '^EPOCHCUT_' "$work/build-vendored/CMakeCache.txt" >"$log"
  for option in BUILD_TESTS BUILD_EXAMPLES BUILD_BENCH INSTALL; do must_say "EPOCHCUT_$option:BOOL=OFF"; done
  grep 'main.cpp' "$work/build-vendored/compile_commands.json" >"$log"
  must_say "-isystem [^ ]*epochcut[^ ]*/include"
  must "it does not build" build build-vendored
  must "it does not run" run "$work/build-vendored/vendored"
  (cd "$work/build-vendored" && "$ctest" -N) >"$log" 2>&1
  must_say 'Total Tests: 0'
  must "its install fails" run "$cmake" --install "$work/build-vendored"
  find "$work/prefix-vendored" -type f 2>/dev/null | grep . >"$log" && complain "a project that only vendors epochcut installs it"
  # What the program was made of. -M names all that the preprocessor opened.
  "${CXX:-c++}" -std=c++20 -I"$work/archive/include" -M -x c++ "$work/archive/include/epochcut/epochcut.hpp" 2>&1 | tr ' ' '\n' | sort -u >"$log"
  grep -q 'epochcut/verdict/check.hpp' "$log" || complain "-M names nothing"
  grep -E '/(libpq|pg_config|postgres|curl|fmt)[^/]*(/|\.h$)' "$log" >"$log.leaves" && complain "the core opens a leaf's dependency: $(cat "$log.leaves")"

  refused 'epochcut::postgres' "$here/vendored" build-vendored -DASK=epochcut::postgres
  must_say 'the target was not found'
  must_say 'libpq was not found, so there is no epochcut::postgres'
  refused 'epochcut::clickhouse' "$here/vendored" build-vendored -DASK=epochcut::clickhouse
  must "without any fmt it does not configure" configure "$here/vendored" build-vendored -DASK= -DOWN_FMT=OFF
  must_say 'fmt was not found, so there is no epochcut::format'
  # A project that wants to install it nevertheless, with a formatter that is no package.
  must "it can't be installed beside a fmt that is built here" configure "$here/vendored" build-vendored -DOWN_FMT=ON -DEPOCHCUT_INSTALL=ON
  must_say 'fmt::fmt is built here and no package, so epochcut::format is not installed'
}

# Sources that stand in for a library: a target of its name.
stand_in() { # FOLDER TARGET
  mkdir -p "$work/$1" && printf 'add_library(%s INTERFACE)\nadd_library(%s::%s ALIAS %s)\nmessage(STATUS "stand-in of %s")\n' "$2" "$2" "$2" "$2" "$2" >"$work/$1/CMakeLists.txt"
}

case_fallback() {
  rm -rf "$work/build-fallback"
  none='-DCMAKE_DISABLE_FIND_PACKAGE_fmt=ON -DCMAKE_DISABLE_FIND_PACKAGE_Catch2=ON -DCMAKE_DISABLE_FIND_PACKAGE_benchmark=ON'
  stand_ins=
  for name in fmt Catch2 benchmark; do
    stand_in "stand-in-$name" "$name"
    stand_ins="$stand_ins -DFETCHCONTENT_SOURCE_DIR_$(echo "$name" | tr '[:lower:]' '[:upper:]')=$work/stand-in-$name"
  done
  # Installed packages come first. Disconnected, a download that is tried all the same is an error.
  must "what is installed is not found" configure "$repository" build-fallback -DEPOCHCUT_BUILD_BENCH=ON -DFETCHCONTENT_FULLY_DISCONNECTED=ON
  # shellcheck disable=SC2086 # lists of options
  must "the sources are not taken" configure "$repository" build-fallback $none $stand_ins
  for name in fmt Catch2 benchmark; do must_say "stand-in of $name"; done
  # Neither tests nor examples, and nothing is fetched: what stands in for the host would be missing.
  must "a library alone asks for more" configure "$repository" build-fallback -DEPOCHCUT_BUILD_TESTS=OFF -DEPOCHCUT_BUILD_EXAMPLES=OFF -DEPOCHCUT_BUILD_BENCH=OFF
  must_not_say 'stand-in'
  must_say 'so there is no epochcut::format'
}

case $1 in
  install) case_install ;;
  packaged) case_packaged ;;
  fetched) case_fetched ;;
  vendored) case_vendored ;;
  fallback) case_fallback ;;
  *)
    say "unknown case '$1'"
    exit 2
    ;;
esac
[ $wrong -eq 0 ] && say "$1: as expected"
exit $wrong
