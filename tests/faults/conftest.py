"""What was done to the runs, how often, and what their users saw: a table when all is over."""

import collections
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_HEAD = ("fault", "tried", "survived", "what the user saw")


@dataclass
class Faults:
    """The faults tried so far: test, fault, how often it was tried and survived, what was seen."""

    rows: list[tuple[str, str, int, int, str]] = field(default_factory=list)

    def record(self, fault: str, tried: int, survived: int, saw: str) -> None:
        """One fault. A test that records none is a row of its own, by its name.

        Args:
            fault: what was done, such as "kill -9 while saving".
            tried: how often.
            survived: how often it ended as promised; all of them, or the test fails.
            saw: the exit code, and the line the user reads.
        """
        test = function_of(os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0])
        self.rows.append((test, fault, tried, survived, re.sub(r"(?<= )/\S*/", "…/", saw)))
        assert survived == tried, fault


def function_of(test: str) -> str:
    """The name of a test without its file and its parameters."""
    return test.partition("[")[0].rpartition("::")[2]


_FAULTS = Faults()


def pytest_addoption(parser):
    help = "how many of the fifty kills of test_kills.py are tried; they go by the commit's hash"
    parser.addoption("--kills", type=int, default=50, metavar="N", help=help)


@pytest.fixture(scope="session")
def faults():
    """Where tests put down what they tried: `faults.record(fault, tried, survived, saw)`."""
    return _FAULTS


def pytest_terminal_summary(terminalreporter):
    found = {
        passed: collections.Counter(
            function_of(report.nodeid)
            for report in terminalreporter.getreports("passed" if passed else "failed")
            if report.when == "call" and "tests/faults/" in report.nodeid
        )
        for passed in (True, False)
    }
    told = {row[0] for row in _FAULTS.rows}
    rows = [_HEAD, *((fault, str(n), str(m), saw) for _, fault, n, m, saw in _FAULTS.rows)]
    for name in dict.fromkeys([*found[True], *found[False]]):
        if name not in told:
            tried, survived = found[True][name] + found[False][name], found[True][name]
            words = name.removeprefix("test_").replace("_", " ")
            rows.append((words, str(tried), str(survived), ""))
    wide = [max(len(row[column]) for row in rows) for column in range(3)]
    terminalreporter.section("faults")
    for number, (*cells, saw) in enumerate(rows):
        padded = [cell.ljust(width) for cell, width in zip(cells, wide, strict=True)]
        terminalreporter.write_line(f"| {' | '.join([*padded, saw])} |")
        if number == 0:
            terminalreporter.write_line(f"|{'|'.join('-' * (width + 2) for width in wide)}|---|")


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # one of several workers of pytest-xdist
        session.config.workeroutput["faults"] = _FAULTS.rows


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    rows = getattr(node, "workeroutput", {}).get("faults", [])
    _FAULTS.rows.extend(tuple(row) for row in rows)


@pytest.fixture(scope="session")
def job(data_dir):
    """Makes jobs (see `harness.Job`) that find the tiny embedded datasets."""
    from faults.harness import Job

    def make(kind: str, workdir: Path, *overrides: str, **options):
        return Job(kind, workdir, data_dir, overrides, **options)

    return make
