#!/usr/bin/env bash
# The paper's study at a small scale, on synthetic data: ./launch/quickstart.sh [WORKDIR [SETTING]]
# Started again, it skips completed runs. SETTING "smallest" only checks that everything runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=launch/environment.sh
source launch/environment.sh

workdir="${1:-runs/quickstart}"
setting="${2:-}"
environment
preload_allocator
exec python -m ssl_jax.study --jobs 2 \
  --config "configs/study/quickstart.py${setting:+:$setting}" --workdir "$workdir"
