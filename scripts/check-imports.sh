#!/usr/bin/env bash
# Dependencies point one way: stages never see the experiment file or the run, analysis never sees tensors.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
fail=0
# forbid PACKAGE PATTERN: no dependency of PACKAGE inside this module may match PATTERN.
forbid() {
  local bad
  bad=$(go list -deps "$1" | grep -E '^sat(/|$)' | grep -vx "sat/${1#./}" | grep -E "$2" || true)
  [ -z "$bad" ] || { echo "$1 must not depend on: $bad"; fail=1; }
}
forbid ./attacks 'sat/(torch|zoo|analysis|cmd|internal/(data|train|run|experiment|store))'
forbid ./boundary 'sat/(torch|zoo|analysis|cmd|internal/(data|train|run|experiment|store))'
forbid ./torch 'sat/(attacks|zoo|analysis|cmd|internal/(data|train|run|experiment|store))'
forbid ./zoo 'sat/(analysis|cmd|internal/(train|run|experiment))'
forbid ./analysis 'sat/(torch|attacks|zoo|cmd|internal/(data|train|run|experiment|store))'
forbid ./analysis/report 'sat/(torch|attacks|zoo|cmd|internal/(data|train|run|experiment))'
forbid ./internal/train 'sat/(analysis|cmd|internal/(run|experiment))'
forbid ./internal/data 'sat/(torch|attacks|zoo|analysis|cmd|internal/(train|run|experiment))'
forbid ./internal/store 'sat/(torch|attacks|zoo|analysis|cmd|internal/(data|train|run|experiment))'
forbid ./internal/experiment 'sat/(torch|attacks|zoo|cmd|internal/(data|train|run))'
forbid ./internal/studies 'sat/(torch|attacks|zoo|cmd|internal/(train|run|experiment))'
forbid ./internal/run 'sat/cmd'
exit $fail
