#!/usr/bin/env bash
# Prepares everything `sat` needs and leaves bin/sat. Safe to interrupt and to repeat: each step looks at what is
# already there, so a second run takes seconds.
#   scripts/setup.sh            tools, native packages, Python environment, C++ shim, Go binary
#   scripts/setup.sh dev        also the pinned linters
#   scripts/setup.sh peers      also the Python libraries that goldens and benchmarks compare with
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly want_go=1.26 want_cmake=3.25 want_gxx=12
started=$SECONDS
downloaded_mb=0

say() { printf 'set-up: %s\n' "$*" >&2; }
die() { printf 'set-up: %s\n' "$*" >&2; exit 4; }
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n1)" = "$1" ]; }

# Two makes at once would install into one environment.
mkdir -p third_party build
exec 9>third_party/.setup.lock
flock -n 9 || { say "another set-up is running here; waiting for it"; flock 9; }

# install_packages WHY PACKAGE...: installs Debian packages as root, or says which command to run.
install_packages() {
  local why=$1; shift
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    die "$why. Run:  sudo apt-get install -y $*"
  fi
  say "$why: installing $*"
  { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" ||
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; }; } >build/apt.log 2>&1 ||
    die "apt-get could not install $*; its output is in build/apt.log"
}

check_tools() {
  command -v g++ >/dev/null || install_packages "a C++ compiler is missing" g++
  at_least $want_gxx "$(g++ -dumpfullversion)" || die "g++ $(g++ -dumpfullversion) is too old: $want_gxx or newer is needed"
  command -v cmake >/dev/null || install_packages "CMake is missing" cmake make
  local have
  have=$(cmake --version | sed -n '1s/.* //p')
  at_least $want_cmake "$have" || die "CMake $have is too old: $want_cmake or newer is needed"
  command -v go >/dev/null || die "Go is missing: install Go $want_go or newer (https://go.dev/dl) and put it on PATH"
  have=$(go env GOVERSION | sed 's/^go//')
  at_least $want_go "$have" || die "Go $have is too old: $want_go or newer is needed (https://go.dev/dl)"
  if ! printf '#include <stdio.h>\n#include <jpeglib.h>\n' | g++ -x c++ -fsyntax-only - 2>/dev/null; then
    install_packages "the libjpeg-turbo headers are missing" libjpeg-dev
  fi
}

# find_python prints the newest interpreter for which the pinned wheels exist (3.11 to 3.14).
find_python() {
  local p
  for p in python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$p" >/dev/null && "$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))'; then
      command -v "$p"; return
    fi
  done
  return 1
}

# python_env DIR REQUIREMENTS: a private environment with exactly the pinned, hash-checked packages. The stamp is
# written last, so an interrupted installation is taken up again.
python_env() {
  local dir=$1 requirements=$2 python stamp log=build/pip-$(basename "$1").log
  python=$(find_python) || die "Python 3.11 to 3.14 is missing. Run:  sudo apt-get install -y python3 python3-venv"
  stamp="$(sha256sum <"$requirements" | cut -d' ' -f1) $("$python" -c 'import sys; print(sys.version.split()[0])')"
  [ -f "$dir/.complete" ] && [ "$(cat "$dir/.complete")" = "$stamp" ] && return
  say "installing $(grep -c '^[a-z].*==' "$requirements") pinned Python packages into $dir (log: $log)"
  rm -f "$dir/.complete"
  if [ -e "$dir" ] && ! "$dir/bin/python" -c 'import pip' 2>/dev/null; then rm -rf "$dir"; fi
  if [ ! -e "$dir" ]; then
    "$python" -m venv "$dir" 2>/dev/null || { rm -rf "$dir"; install_packages "Python's venv module is missing" python3-venv; "$python" -m venv "$dir"; }
  fi
  "$dir/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off --no-deps --require-hashes \
    -r "$requirements" >"$log" 2>&1 || { tail -n 5 "$log" >&2; die "pip could not install $requirements; the whole output is in $log"; }
  count_downloads "$log"
  echo "$stamp" >"$dir/.complete"
}

# count_downloads LOG: adds what pip says it downloaded.
count_downloads() {
  local mb
  mb=$(sed -nE 's/.*Downloading .*\(([0-9.]+) (kB|MB|GB)\).*/\1 \2/p' "$1" |
    awk '{ f = $2 == "kB" ? 0.001 : $2 == "GB" ? 1000 : 1; s += $1 * f } END { printf "%.0f", s }')
  downloaded_mb=$((downloaded_mb + mb))
}

# old_timm: timm 0.6.7 in a folder that is on nobody's path; the exporter puts it in front of the new one where it must.
old_timm() {
  local dir=third_party/timm067 requirements=third_party/requirements-timm067.txt log=build/pip-timm067.log stamp
  stamp=$(sha256sum <"$requirements" | cut -d' ' -f1)
  [ -f "$dir/.complete" ] && [ "$(cat "$dir/.complete")" = "$stamp" ] && return
  say "installing timm 0.6.7 into $dir (log: $log)"
  rm -rf "$dir"
  third_party/env/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off --no-deps --require-hashes \
    --only-binary :all: --no-compile --target "$dir" -r "$requirements" >"$log" 2>&1 ||
    { tail -n 5 "$log" >&2; die "pip could not install $requirements; the whole output is in $log"; }
  count_downloads "$log"
  echo "$stamp" >"$dir/.complete"
}

build_shim() {
  local torch
  torch=$(third_party/env/bin/python -c 'import importlib.util as u, os; print(os.path.dirname(u.find_spec("torch").origin))')
  cmake -S . -B build -DTORCH_DIR="$torch" -DCMAKE_BUILD_TYPE=Release >build/cmake.log 2>&1 ||
    { tail -n 20 build/cmake.log >&2; die "CMake could not configure the C++ shim; see build/cmake.log"; }
  cmake --build build --parallel "$(nproc)" >build/make.log 2>&1 ||
    { tail -n 30 build/make.log >&2; die "the C++ shim does not compile; see build/make.log"; }
}

build_go() {
  local cache before after
  cache=$(go env GOMODCACHE)/cache/download
  before=$(du -sm "$cache" 2>/dev/null | cut -f1 || true)
  go build -o bin/sat ./cmd/sat
  after=$(du -sm "$cache" 2>/dev/null | cut -f1 || true)
  downloaded_mb=$((downloaded_mb + ${after:-0} - ${before:-0}))
}

check_tools
python_env third_party/env third_party/requirements.txt
old_timm
build_shim
build_go
for extra in "$@"; do
  case $extra in
    dev) python_env third_party/dev third_party/requirements-dev.txt ;;
    peers)
      python_env third_party/peers third_party/requirements-peers.txt
      # The peers run on the very torch that libtorch comes from.
      (cd third_party/env/lib/python3*/site-packages && pwd) >"$(echo third_party/peers/lib/python3*/site-packages)/sat-env.pth" ;;
    *) die "unknown part \"$extra\": dev or peers" ;;
  esac
done
say "ready: bin/sat ($((SECONDS - started)) s, $downloaded_mb MB downloaded)"
