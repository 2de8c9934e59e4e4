#!/bin/sh
# Does a real browser show the page, on a desk and on a phone?
#
#   page_screenshot.sh FACE-TESTS [FOLDER]   FACE-TESTS: the test program that writes the page; FOLDER keeps the pictures
#
# Chromium renders it at 1280 and at 390 pixels: all eight checks are there, nothing is wider than the window, and a page that is too wide is noticed.
# Exit codes: 0 it does, 1 it does not, 77 no chromium.
set -u

face_tests=$1
browser=$(command -v chromium || command -v chromium-browser) || exit 77
work=$(mktemp -d "${TMPDIR:-/tmp}/epochcut-page.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM
keep=${2:-$work}
mkdir -p "$keep"

fail() {
  printf 'page_screenshot.sh: %s\n' "$*" >&2
  exit 1
}
run_browser() { # ARGUMENT...
  timeout 120 "$browser" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars --user-data-dir="$work/profile" "$@" 2>"$work/browser.log"
}

# A page around the page: a frame as wide as a phone, and a script that says how wide its content turned out and which checks it found.
measure() { # PAGE WIDTH
  {
    printf '<!DOCTYPE html><body style="margin:0"><iframe id=f style="border:0;width:%spx;height:900px" srcdoc="' "$2"
    sed 's/&/\&amp;/g; s/"/\&quot;/g' "$1"
    # shellcheck disable=SC2016 # JavaScript
    printf '%s' '"></iframe><script>onload = () => { const d = document.getElementById("f").contentDocument; const wide = [...d.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > d.documentElement.clientWidth + 0.5).length; document.title = ["width", d.documentElement.scrollWidth, "wide", wide, "checks", d.querySelectorAll("article").length, "timelines", d.querySelectorAll("article svg.timeline").length, "keys", d.querySelectorAll(".alarm .key").length].join(" "); }</script>'
  } >"$work/frame.html"
  run_browser --virtual-time-budget=2000 --dump-dom "file://$work/frame.html" | sed -n 's/.*<title>\(width [^<]*\)<\/title>.*/\1/p' | head -n 1
}

EPOCHCUT_PAGE_OUT=$keep/page.html "$face_tests" 'page: every check is there*' >/dev/null || fail "the page could not be written"
[ -s "$keep/page.html" ] || fail "there is no page"

for width in 1280 390 320; do
  seen=$(measure "$keep/page.html" "$width")
  [ "$seen" = "width $width wide 0 checks 8 timelines 8 keys 2" ] || fail "at $width pixels: ${seen:-nothing was rendered; $(tail -n 1 "$work/browser.log")}"
done

# What must be found: a page with one thing that is wider than a phone.
sed 's/<body>/<body><div style="width:500px">x<\/div>/' "$keep/page.html" >"$work/wide.html"
case $(measure "$work/wide.html" 390) in
  *" wide 0 "*) fail "a page that is too wide went unnoticed" ;;
esac

run_browser --screenshot="$keep/page-1280.png" --window-size=1280,2300 "file://$keep/page.html" >/dev/null
[ -s "$keep/page-1280.png" ] || fail "no picture"
printf 'the page fits at 1280, 390 and 320 pixels, with eight checks\n'
