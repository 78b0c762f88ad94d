#!/usr/bin/env bash
# Rebuilds every committed reference with the peers' environment. The diff is to be reviewed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# Two scripts read the networks that another one makes: those come first.
first="scripts/goldens/torch_ops.py scripts/goldens/attacks_torchattacks.py"
for script in $first $(ls scripts/goldens/*.py | grep -vxF -f <(tr ' ' '\n' <<<"$first")); do
  echo "goldens: $script" >&2
  OMP_NUM_THREADS=1 third_party/peers/bin/python "$script"
done
