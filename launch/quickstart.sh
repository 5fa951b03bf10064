#!/usr/bin/env bash
# The paper's study in miniature, on data it makes itself: ./launch/quickstart.sh [WORKDIR [SETTING]]
# Started again it skips what is done. SETTING "smallest" only shows that everything runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=launch/environment.sh
source launch/environment.sh

workdir="${1:-runs/quickstart}"
setting="${2:-}"
environment
exec python -m ssl_jax.study \
  --config "configs/study/quickstart.py${setting:+:$setting}" --workdir "$workdir"
