#!/usr/bin/env bash
# Format, vet and static checks over Go, C++ and C; also that dependencies between packages point one way.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
fail=0
unformatted=$(gofmt -l $(git ls-files '*.go'))
[ -z "$unformatted" ] || { echo "not gofmt'ed: $unformatted"; fail=1; }
go vet ./... || fail=1
go tool staticcheck ./... || fail=1
third_party/dev/bin/clang-format --dry-run --Werror $(git ls-files 'torch/csrc/*' '*.c' '*.h' '*.cpp' | sort -u) || fail=1
scripts/check-guards.sh || fail=1
scripts/check-imports.sh || fail=1
exit $fail
