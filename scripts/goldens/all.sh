#!/usr/bin/env bash
# Rebuilds every committed reference with the peers' environment. The diff is to be reviewed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
for script in scripts/goldens/*.py; do
  echo "goldens: $script" >&2
  OMP_NUM_THREADS=1 third_party/peers/bin/python "$script"
done
