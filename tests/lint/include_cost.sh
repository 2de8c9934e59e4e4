#!/bin/sh
# What does an include cost its user? Counts the lines that the preprocessor hands to the compiler (g++ -E -P), and names the standard headers
# that must not be among them: each costs more than the library itself, or brings threads or streams along.
#
#   sh tests/lint/include_cost.sh COMPILER INCLUDE-FOLDER HEADER LINES-MAX
#
# Lines and not seconds: they don't depend on the machine. On failure, a table says which of our headers brings how many lines by what.
set -u
[ $# -eq 4 ] || { sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; exit 2; }
compiler=$1 root=$2 header=$3 lines_max=$4
forbidden='memory|functional|thread|stop_token|iostream|regex|ranges'

work=$(mktemp -d "${TMPDIR:-/tmp}/epochcut-cost.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
echo "#include <$header>" >"$work/one.cpp"
preprocess() { "$compiler" -std=c++20 -I"$root" "$@" "$work/one.cpp"; }
preprocess -E -P >"$work/lines" && preprocess -E >"$work/marked" && preprocess -E -H -o /dev/null 2>"$work/tree" || exit 1
lines=$(wc -l <"$work/lines")
failed=0

# The chain of includes that leads to a forbidden header. The tree's lines are dots for the depth and a path.
awk -v forbidden="/($forbidden)\$" '
  /^\.+ / {
    depth = length($1)
    chain[depth] = $2
    if ($2 ~ forbidden && $2 !~ /\/(bits|experimental|tr1|pstl)\//) {
      text = chain[1]
      for (i = 2; i <= depth; ++i) text = text " > " chain[i]
      print "forbidden: " text
    }
  }' "$work/tree" >"$work/forbidden"
if [ -s "$work/forbidden" ]; then
  cat "$work/forbidden"
  failed=1
fi
if [ "$lines" -gt "$lines_max" ]; then
  echo "$header is $lines lines, more than $lines_max"
  failed=1
fi
if [ "$failed" -ne 0 ]; then
  echo "lines that are not blank, what holds them, which of our headers was the first to bring it:"
  awk -v root="$root/" '
    function ours(file) { return index(file, root) == 1 }
    /^# [0-9]+ "/ {
      file = $3
      gsub(/"/, "", file)
      flag = $4
      if (flag == 1) {
        ++depth
        at[depth] = file
        if (ours(file)) { what[depth] = "itself"; by[depth] = substr(file, length(root) + 1) }
        else if (ours(at[depth - 1])) { what[depth] = file; by[depth] = substr(at[depth - 1], length(root) + 1) }
        else { what[depth] = what[depth - 1]; by[depth] = by[depth - 1] }
      } else if (flag == 2) --depth
      next
    }
    NF && depth > 0 && by[depth] != "" { ++lines[what[depth] "  by " by[depth]] }
    END { for (key in lines) printf "%7d  %s\n", lines[key], key }' "$work/marked" | sort -rn | head -n 25
  exit 1
fi
echo "$header: $lines lines of $lines_max"
