#!/usr/bin/env bash
# Opens reports in headless Chromium: no console message, nothing fetched, the script's interactions work, and the page
# is drawn on a laptop, a phone, in dark colours and for print. The pictures stay for a look.
#
#   scripts/check-report.sh [OUT [report.html ...]]
#
# OUT is build/report-check unless given. Without reports it makes synthetic ones, of 3, 14, 69 and 200 models.
set -euo pipefail
out=${1:-$(dirname "${BASH_SOURCE[0]}")/../build/report-check}
shift $(($# > 0))
mkdir -p "$out"
out=$(cd "$out" && pwd)
if [ "$(id -u)" = 0 ] && ! command -v chromium >/dev/null && command -v apt-get >/dev/null; then
  apt-get install -y -q chromium poppler-utils >/dev/null || true
fi
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -z "$browser" ]; then
  echo "skipped: no Chromium on this machine, so the report was not opened in a browser (Debian: apt-get install chromium)" >&2
  exit 0
fi
reports=()
for r in "$@"; do reports+=("$(realpath "$r")"); done
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ ${#reports[@]} -eq 0 ]; then
  SAT_REPORT_SAMPLES="$out/samples" go test -count=1 -run TestWriteSample ./analysis/report
  reports=("$out"/samples/*/report.html)
fi
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
fail=0

# chromium NAME ARGUMENTS...: one headless run; its log goes to NAME.log. Console messages and failed requests fail it.
chromium() {
  local name=$1
  shift
  timeout 120 "$browser" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
    --disable-component-update --disable-sync --hide-scrollbars --allow-file-access-from-files --user-data-dir="$profile" \
    --enable-logging=stderr --virtual-time-budget=5000 "$@" 2>"$out/$name.log" || { echo "$name: Chromium ended with $?"; fail=1; }
  if grep -E 'CONSOLE|net::ERR' "$out/$name.log"; then
    echo "$name: console messages, see above"
    fail=1
  fi
}

# at_width FILE WIDTH HEIGHT: a page that shows FILE in a frame, because a headless window is at least 500 pixels wide.
at_width() {
  printf '<!DOCTYPE html><body style="margin:0"><iframe src="file://%s" style="border:0;width:%spx;height:%spx"></iframe>' "$1" "$2" "$3"
}

# checked WHAT: the title of dom.html says that nothing was wrong.
checked() {
  local title
  title=$(grep -o -m 1 '<title>[^<]*</title>' "$profile/dom.html" | head -n 1 || true)
  [ "$title" = "<title>checked</title>" ] || { echo "$1: $title"; fail=1; }
}

# printed NAME: the PDF has the text of the page, without what only a screen can use.
printed() {
  command -v pdftotext >/dev/null || return 0
  pdftotext -q "$out/$1.pdf" "$profile/print.txt"
  local word
  for word in 'How similar is each pair?' 'Settings and files'; do
    grep -qF "$word" "$profile/print.txt" || { echo "$1: print lacks “$word”"; fail=1; }
  done
  for word in 'Download:' 'Find a model' 'Order by'; do
    if grep -qF "$word" "$profile/print.txt"; then echo "$1: print has “$word”"; fail=1; fi
  done
}

for report in "${reports[@]}"; do
  name=$(basename "$(dirname "$report")")
  if grep -oE '(src|href)="(https?:)?//[^"]*"' "$report"; then
    echo "$name: the page refers to the network"
    fail=1
  fi
  chromium "$name-laptop" --window-size=1280,6000 --screenshot="$out/$name-laptop.png" "file://$report"
  chromium "$name-dark" --window-size=1280,6000 --blink-settings=preferredColorScheme=0 --screenshot="$out/$name-dark.png" "file://$report"
  at_width "$report" 390 6000 >"$profile/phone.html"
  chromium "$name-phone" --window-size=500,6000 --screenshot="$out/$name-phone.png" "file://$profile/phone.html"
  chromium "$name-print" --no-pdf-header-footer --print-to-pdf="$out/$name.pdf" "file://$report"
  printed "$name"
  # The interactions, driven by a script of our own that reports into the title: on a laptop, and in a frame of a phone's
  # width, whose title the page around it takes over.
  { cat "$report"; printf '<script>'; cat scripts/check-report.js; printf '</script>'; } >"$profile/driven.html"
  chromium "$name-driven" --window-size=1280,1000 --dump-dom "file://$profile/driven.html" >"$profile/dom.html"
  checked "$name: interactions"
  { at_width "$profile/driven.html" 390 800
    printf '<script>const f = document.querySelector("iframe"); f.onload = () => { document.title = f.contentDocument.title; };</script>'
  } >"$profile/phone.html"
  chromium "$name-phone-driven" --window-size=500,900 --dump-dom "file://$profile/phone.html" >"$profile/dom.html"
  checked "$name: on a phone"
done
[ $fail -eq 0 ] && echo "report check passed; pictures in $out"
exit $fail
