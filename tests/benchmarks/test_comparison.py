"""Workers that repeat a workload in turn."""

import sys

import pytest

from data_pipelines.errors import UserError
from ssl_jax.benchmarks.comparison import compare

WORKER = """
import json, sys
print(json.dumps({"images": 4, "versions": {"own": sys.argv[1]}}), flush=True)
for number, _ in enumerate(sys.stdin):
    with open(sys.argv[2], "a") as log:
        log.write(sys.argv[1])
    print(json.dumps({"seconds": float(number)}), flush=True)
print(json.dumps({"peak_rss_bytes": 100}), flush=True)
"""


def test_implementations_take_turns(tmp_path):
    log = tmp_path / "log"
    commands = [[sys.executable, "-c", WORKER, name, str(log)] for name in "ab"]
    own, rival = compare(commands, 3)
    assert log.read_text() == "aabb" * 3
    assert own.seconds == [1.0, 3.0, 5.0]
    assert own.median == 3.0
    assert (own.images, own.peak_rss_bytes, rival.versions) == (4, 100, {"own": "b"})


@pytest.mark.parametrize("fails_at", ["start", "repetition"])
def test_a_worker_that_fails_is_named(fails_at):
    program = 'import json; print(json.dumps({"images": 1, "versions": {}}))'
    if fails_at == "start":
        program = "raise SystemExit(3)"
    with pytest.raises(UserError, match=r"^benchmark .*: printed ''; expected a line of JSON"):
        compare([[sys.executable, "-c", program]], 1)
