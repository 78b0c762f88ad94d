#!/usr/bin/env bash
# Measures attacks, transfer passes and the training loop against their Python peers and writes the tables as Markdown to
# runs/bench/.
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
precision=()
grep -qwE 'avx512_bf16|amx_bf16' /proc/cpuinfo || precision=(--precision float32)

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

if [ "${1:-}" = full ]; then
  table attack attack --peer "${precision[@]}" --rounds 20 --seconds 2
  table attack-1-thread attack --peer "${precision[@]}" --rounds 20 --seconds 2 --threads 1
  for method in pgd-l2 apgd-ce apgd-t fab-t square; do
    table "$method" attack --method "$method" --peer --rounds 20 --seconds 4 --models resnet18,deit_tiny_patch16_224
  done
  table patchfool attack --method patchfool --peer --rounds 20 --seconds 4
  table autoattack attack --method autoattack --peer --steps 5 --models resnet18
  # What a network that nothing hardens costs: its images fall to the first of the four.
  table autoattack-fallen attack --method autoattack --peer --steps 50 --epsilon 8/255 --models resnet18
  table transfer transfer --peer "${precision[@]}" --rounds 20
  table train train --peer "${precision[@]}" --rounds 20
  table workers-1x2 attack "${precision[@]}" --rounds 20 --workers 1 --threads 2
  table workers-2x1 attack "${precision[@]}" --rounds 20 --workers 2 --threads 1
else
  table attack attack --peer "${precision[@]}" --seconds 0.5
  for method in pgd-l2 apgd-ce apgd-t fab-t square; do
    table "$method" attack --method "$method" --peer --seconds 0.5 --targets 2 --batch 2 --models resnet18
  done
  table patchfool attack --method patchfool --peer --seconds 0.5 --batch 2 --models deit_tiny_patch16_224
  table autoattack attack --method autoattack --peer --steps 2 --targets 2 --queries 20 --batch 2 --models resnet18
  table transfer transfer --peer "${precision[@]}" --seconds 0.2
  table train train --peer "${precision[@]}" --seconds 0.5
fi
