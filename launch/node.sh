#!/usr/bin/env bash
# One node, all its GPUs, one process: ./launch/node.sh COMMAND ARGUMENTS…
#   ./launch/node.sh train --config configs/pretrain/mae_vitb_ben4.py --workdir runs/mae
#   ./launch/node.sh study --config configs/study/paper.py --workdir runs/paper
# Ctrl-C or SIGTERM saves a checkpoint (exit code 75); the same command resumes from it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=launch/environment.sh
source launch/environment.sh

if [[ $# -eq 0 ]]; then
  sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
command="$1"
shift
if command -v nvidia-smi >/dev/null; then
  environment gpu
  # Images are decoded on the host, so that JAX may allocate nearly all of the GPU memory.
  export XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.92}"
else
  environment
  preload_allocator
  echo "warning: found no NVIDIA driver on this node; running on the CPU" >&2
fi
exec python -m "ssl_jax.$command" "$@"
