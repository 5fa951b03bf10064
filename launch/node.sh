#!/usr/bin/env bash
# One node, all its GPUs, one process: ./launch/node.sh DOOR ARGUMENTS…
#   ./launch/node.sh train --config configs/pretrain/mae_vitb_ben4.py --workdir runs/mae
#   ./launch/node.sh study --config configs/study/paper.py --workdir runs/paper
# Ctrl-C or SIGTERM saves a bundle (exit code 75); the same command goes on from there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=launch/environment.sh
source launch/environment.sh

if [[ $# -eq 0 ]]; then
  sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
door="$1"
shift
if command -v nvidia-smi >/dev/null; then
  environment gpu
  # The host reads 120×120 tiles; the card may have nearly all of its memory.
  export XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.92}"
else
  environment
  echo "no NVIDIA driver on this node: running on its CPU" >&2
fi
exec python -m "ssl_jax.$door" "$@"
