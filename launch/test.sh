#!/usr/bin/env bash
# Run tests: ./launch/test.sh [SUITE] [pytest's arguments]. Without a suite, the tests that need only
# the package. Prints the slowest tests at the end.
#   --realdata          tests on real images, in the folder SSL_JAX_REALDATA, and on more of them
#                       if SSL_JAX_REAL names another
#   --bench             benchmarks of speed and memory, for an idle machine
#   --parity [--full]   comparison with the reference implementations, with the relative errors;
#                       --full adds networks at the paper's sizes
#   --faults [--kills N]  kills, faulty disks and hostile input, with the commands in processes of
#                       their own; N of the fifty kills, sampled by the hash of the commit
#   --newest            the tests without a suite, with the newest releases that pip finds, in
#                       .venv-newest
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=launch/environment.sh
source launch/environment.sh

suite=""
case "${1:-}" in
  --realdata | --bench | --parity | --faults | --newest)
    suite="$1"
    shift
    ;;
esac
# The tests of a module share trained models, so that one worker runs all of them (loadscope).
# tests/conftest.py determines which modules come first.
parallel=(-n 2 --dist loadscope --no-loadscope-reorder --durations 10)
if [[ "$suite" == "--newest" ]]; then
  newest_environment
else
  environment test
fi
case "$suite" in
  --realdata)
    : "${SSL_JAX_REALDATA:?error: --realdata needs SSL_JAX_REALDATA, the folder with the real images}"
    # These tests train for longer: without XLA_FLAGS, programs are compiled to run fast.
    XLA_FLAGS="" exec python -m pytest "${parallel[@]}" -rP tests/realdata tests/data_profile "$@"
    ;;
  --bench)
    exec python -m pytest tests/bench -s "$@"
    ;;
  --parity)
    environment test parity
    exec python -m pytest "${parallel[@]}" -rP tests/parity "$@"
    ;;
  --faults)
    # These tests wait for processes, so that three workers keep two cores busy.
    exec python -m pytest "${parallel[@]}" -n 3 tests/faults "$@"
    ;;
  *)
    exec python -m pytest "${parallel[@]}" \
      --ignore tests/realdata --ignore tests/data_profile --ignore tests/bench --ignore tests/parity \
      --ignore tests/faults "$@"
    ;;
esac
