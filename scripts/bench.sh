#!/usr/bin/env bash
# Measures attacks, transfer passes, the training loop, the loading of images and the analyses against their Python peers and
# writes the tables as Markdown to runs/bench/.
#
#   scripts/bench.sh [full]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p runs/bench

# The kind of machine in words, without its name.
machine() {
  local model vectors=
  model=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
  grep -qw avx512f /proc/cpuinfo && vectors=AVX-512
  grep -qw avx512_bf16 /proc/cpuinfo && vectors=AVX512-BF16
  grep -qw amx_bf16 /proc/cpuinfo && vectors=AMX-BF16
  echo "$(nproc) cores of $model${vectors:+ with $vectors}"
}

# Without instructions for bfloat16 a processor computes it many times slower than float32: there is nothing to measure.
sixteen=
grep -qwE 'avx512_bf16|amx_bf16' /proc/cpuinfo && sixteen=,bfloat16
modes=float32,channels-last$sixteen

table() {
  local file=runs/bench/$1.md
  shift
  echo "== sat bench $*" >&2
  {
    echo "\`sat bench $*\`, $(machine):"
    echo
    bin/sat bench "$@" --markdown
  } | tee "$file"
}

# The same for a task whose table is plain text.
text() {
  local file=runs/bench/$1.md
  shift
  echo "== sat bench $*" >&2
  {
    echo "\`sat bench $*\`, $(machine):"
    echo
    echo '```text'
    bin/sat bench "$@"
    echo '```'
  } | tee "$file"
}

# One thread, as the workers of a run have by default; a second one saves less time than a second worker.
if [ "${1:-}" = full ]; then
  table attack attack --peer --precision $modes --threads 1 --rounds 20 --seconds 2
  for method in pgd-l2 apgd-ce apgd-t fab-t square; do
    table "$method" attack --method "$method" --peer --precision float32 --threads 1 --rounds 20 --seconds 4 --models resnet18,deit_tiny_patch16_224
  done
  table patchfool attack --method patchfool --peer --threads 1 --rounds 20 --seconds 4
  table autoattack attack --method autoattack --peer --threads 1 --steps 5 --models resnet18
  # What a network that nothing hardens costs: its images fall to the first of the four.
  table autoattack-fallen attack --method autoattack --peer --threads 1 --steps 50 --epsilon 8/255 --models resnet18
  table transfer transfer --peer --precision $modes --threads 1 --rounds 20
  table train train --peer --precision float32$sixteen --threads 1 --rounds 20
  table attack-2-threads attack --peer --precision $modes --threads 2 --rounds 20 --seconds 2
  table workers-1x2 attack --precision $modes --rounds 20 --workers 1 --threads 2
  table workers-2x1 attack --precision $modes --rounds 20 --workers 2 --threads 1
else
  table attack attack --peer --precision $modes --threads 1 --seconds 1
  for method in pgd-l2 apgd-ce apgd-t fab-t square; do
    table "$method" attack --method "$method" --peer --precision float32 --threads 1 --seconds 1 --targets 2 --models resnet18,deit_tiny_patch16_224
  done
  table patchfool attack --method patchfool --peer --threads 1 --seconds 1 --models deit_tiny_patch16_224
  table autoattack attack --method autoattack --peer --threads 1 --steps 2 --targets 2 --queries 20 --batch 2 --models resnet18
  table transfer transfer --peer --precision $modes --threads 1 --seconds 0.5
  table train train --peer --precision float32$sixteen --threads 1 --rounds 20 --seconds 1
fi
text load load --peer
# One turn of some of the peer's takes minutes.
text analysis analysis --peer --rounds "$([ "${1:-}" = full ] && echo 10 || echo 3)"
