"""A process that repeats a workload on request: `python -m ssl_jax.benchmarks.worker NAME`.

It prints a line of JSON when it has warmed up (`images`, the number of images of a repetition, and
`versions`), one for each line on stdin (`seconds`), and one at the end (`peak_rss_bytes`). A rival
in another framework does the same.
"""

import json
import sys
import time

from ssl_jax.benchmarks.workloads import WORKLOADS
from ssl_jax.checkpoints.card import package_versions
from ssl_jax.runs.training import measure_peak_memory

__all__ = ["main"]

_WARM_UP = 2  # repetitions: the first one compiles


def main(name: str) -> None:
    """Prepare a workload and repeat it once for each line on stdin."""
    workload = WORKLOADS[name]
    repeat = workload.prepare()
    for _ in range(_WARM_UP):
        repeat()
    _print({"images": workload.images, "versions": package_versions()})
    for _ in sys.stdin:
        began = time.perf_counter()
        repeat()
        _print({"seconds": time.perf_counter() - began})
    _print({"peak_rss_bytes": measure_peak_memory()})


def _print(record: dict[str, object]) -> None:
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
