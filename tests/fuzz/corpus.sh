#!/bin/sh
# Makes the inputs in tests/fuzz/corpus anew: from seeds.cpp, what is there, and a while of fuzzing, the few that together reach everything.
#
#   sh tests/fuzz/corpus.sh BUILD SECONDS    BUILD: a folder for a build with clang; SECONDS: of fuzzing per harness
set -eu
[ $# -eq 2 ] || {
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 2
}
inputs_max=42 # per harness, of those that reach a branch of their own
here=$(cd "$(dirname "$0")" && pwd)
cmake -S "$here/../.." -B "$1" -DCMAKE_CXX_COMPILER="${CXX:-clang++-19}" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE= -DEPOCHCUT_FUZZ=ON -DEPOCHCUT_FUZZ_SECONDS="$2"
cmake --build "$1" --target fuzz_harnesses fuzz_seeds
build=$(cd "$1/tests/fuzz" && pwd)
"$build/fuzz_seeds" "$build/seeds"
for folder in "$build"/seeds/*; do
  name=${folder##*/}
  mkdir -p "$here/corpus/$name" "$build/found/$name"
  "$build/fuzz_$name" -max_total_time="$2" -max_len=1024 -malloc_limit_mb=64 -timeout=10 -print_funcs=0 -artifact_prefix="$build/found/$name/" \
    "$build/found/$name" "$folder" "$here/corpus/$name"
  rm -rf "$build/least"
  mkdir "$build/least"
  # Whether a branch was taken, not how often: replay.cpp plays each input's neighbours.
  "$build/fuzz_$name" -set_cover_merge=1 -use_counters=0 -max_len=1024 "$build/least" "$folder" "$here/corpus/$name" "$build/found/$name"
  find "$build/least" -type f | sort | tail -n +$((inputs_max + 1)) | xargs -r rm
  find "$folder" -name 'kept*' -exec cp {} "$build/least/" \;
  rm -rf "$here/corpus/$name"
  mv "$build/least" "$here/corpus/$name"
done
find "$here/corpus" -type f | wc -l
du -sh "$here/corpus"
