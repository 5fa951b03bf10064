#!/usr/bin/env bash
# The tests: ./launch/test.sh [SUITE] [pytest's arguments]. Without a suite, those that need nothing
# but the package; each ends with what took longest.
#   --realdata          those on real pixels, found where SSL_JAX_REALDATA says
#   --bench             those of speed and memory, which print ratios and want a quiet machine
#   --parity [--full]   those against the reference implementations, which print how far apart they
#                       are; with --full also at the paper's sizes
#   --faults [--kills N]  those of kills, bad disks and hostile input, in processes as users start
#                       them; N of the fifty kills, by the commit's hash
#   --newest            those without a suite, with the newest releases pip finds, in .venv-newest
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
# A module's tests share what it has trained, so that one of the two workers does them all; which
# modules come first, tests/conftest.py says.
parallel=(-n 2 --dist loadscope --no-loadscope-reorder --durations 10)
if [[ "$suite" == "--newest" ]]; then
  newest_environment
else
  environment test
fi
case "$suite" in
  --realdata)
    : "${SSL_JAX_REALDATA:?error: --realdata needs SSL_JAX_REALDATA, the folder with the real pixels}"
    # These train for real: programs are compiled to run fast, unlike in the other tests.
    XLA_FLAGS="" exec python -m pytest "${parallel[@]}" -rP tests/realdata "$@"
    ;;
  --bench)
    exec python -m pytest tests/bench -s "$@"
    ;;
  --parity)
    environment test parity
    exec python -m pytest "${parallel[@]}" -rP tests/parity "$@"
    ;;
  --faults)
    # These wait for processes: three at a time keep two cores busy.
    exec python -m pytest "${parallel[@]}" -n 3 tests/faults "$@"
    ;;
  *)
    exec python -m pytest "${parallel[@]}" \
      --ignore tests/realdata --ignore tests/bench --ignore tests/parity --ignore tests/faults "$@"
    ;;
esac
