#!/usr/bin/env bash
# The tests: ./launch/test.sh [--realdata | --bench | --parity | --faults] [pytest's arguments]
#   --realdata   only those on real pixels, found where SSL_JAX_REALDATA says
#   --bench      only those of speed and memory, which print ratios and want a quiet machine
#   --parity     only those against the reference implementations, which print how far apart they are
#   --faults     only those of kills, bad disks and hostile input, in processes as users start them
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=launch/environment.sh
source launch/environment.sh

environment test
if [[ "${1:-}" == "--realdata" ]]; then
  : "${SSL_JAX_REALDATA:?error: --realdata needs SSL_JAX_REALDATA, the folder with the real pixels}"
  shift
  # These train for real: programs are compiled to run fast, unlike in the other tests.
  export XLA_FLAGS=""
  exec python -m pytest tests/realdata -s "$@"
fi
if [[ "${1:-}" == "--bench" ]]; then
  shift
  exec python -m pytest tests/bench -s "$@"
fi
if [[ "${1:-}" == "--parity" ]]; then
  shift
  environment test parity
  exec python -m pytest tests/parity -s "$@"
fi
if [[ "${1:-}" == "--faults" ]]; then
  shift
  # The fifty kills take longest and come first, so that one worker does them while the other does
  # all else.
  exec python -m pytest -n 2 --dist loadscope --no-loadscope-reorder \
    tests/faults/test_kills.py tests/faults "$@"
fi
exec python -m pytest -n 2 --dist loadscope \
  --ignore tests/realdata --ignore tests/bench --ignore tests/parity --ignore tests/faults "$@"
