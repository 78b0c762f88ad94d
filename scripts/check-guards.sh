#!/usr/bin/env bash
# Checks that every function of the C border (ST_API in torch/csrc/st_*.h) has a definition whose whole body is one
# guarded call, so that no C++ exception can reach Go, and that the built library exports exactly these functions.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
fail=0

declared=$(sed -nE 's/^ST_API [^(]*[ *](st_[a-z0-9_]+)\(.*/\1/p' torch/csrc/st_*.h | sort)
[ -n "$declared" ] || { echo "no ST_API functions found"; exit 1; }

# A definition starts at the left margin and ends its (perhaps wrapped) head with "{"; the next line is its first one.
guarded=$(awk '
  FNR == 1 { name = ""; body = 0 }
  body { if ($0 ~ /^  (return )?guarded(_value|_free)?\(/) print name; body = 0; name = ""; next }
  /^[a-z].*[ *]st_[a-z0-9_]+\(/ {
    name = $0; sub(/\(.*/, "", name); sub(/.*[ *]/, "", name)
  }
  name != "" && /\{$/ { body = 1 }
  name != "" && /;$/ { name = "" }
' torch/csrc/*.cpp | sort)

for name in $(comm -23 <(echo "$declared") <(echo "$guarded")); do
  echo "check-guards: $name is declared ST_API but has no guarded definition"
  fail=1
done

if [ -f build/libsat_torch.so ]; then
  exported=$(nm -D --defined-only build/libsat_torch.so | awk '$2 == "T" { print $3 }' | sort)
  for name in $(comm -13 <(echo "$declared") <(echo "$exported")); do
    echo "check-guards: the library exports $name, which no header declares"
    fail=1
  done
  for name in $(comm -23 <(echo "$declared") <(echo "$exported")); do
    echo "check-guards: $name is declared but the library does not export it"
    fail=1
  done
fi
exit $fail
