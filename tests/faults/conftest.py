"""Fixtures of the fault tests, and the table of the faults tried, printed at the end."""

import collections
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_HEADER = ("fault", "tried", "survived", "what the user sees")


@dataclass
class Faults:
    """The faults tried so far.

    Attributes:
        rows: Test, fault, number of times tried, number of times survived, what the user sees.
    """

    rows: list[tuple[str, str, int, int, str]] = field(default_factory=list)

    def record(self, fault: str, tried: int, survived: int, seen: str) -> None:
        """Add a row to the table; a test that records no fault gets a row with its own name.

        Args:
            fault: The fault, such as "kill -9 while saving".
            tried: Number of times it was tried.
            survived: Number of times it ended as expected; the test fails if it is less.
            seen: The exit code and the message that the user sees.
        """
        test = get_function_name(os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0])
        self.rows.append((test, fault, tried, survived, re.sub(r"(?<= )/\S*/", "…/", seen)))
        assert survived == tried, fault


def get_function_name(test: str) -> str:
    """Return the name of a test without its file and its parameters."""
    return test.partition("[")[0].rpartition("::")[2]


_FAULTS = Faults()


def pytest_addoption(parser):
    help = "number of the fifty kills of test_kills.py to try, sampled by the hash of the commit"
    parser.addoption("--kills", type=int, default=50, metavar="N", help=help)


@pytest.fixture(scope="session")
def faults():
    """The table that tests add rows to: `faults.record(fault, tried, survived, seen)`."""
    return _FAULTS


def pytest_terminal_summary(terminalreporter):
    counts = {
        passed: collections.Counter(
            get_function_name(report.nodeid)
            for report in terminalreporter.getreports("passed" if passed else "failed")
            if report.when == "call" and "tests/faults/" in report.nodeid
        )
        for passed in (True, False)
    }
    recorded = {row[0] for row in _FAULTS.rows}
    rows = [_HEADER, *((fault, str(n), str(m), seen) for _, fault, n, m, seen in _FAULTS.rows)]
    for name in dict.fromkeys([*counts[True], *counts[False]]):
        if name not in recorded:
            tried, survived = counts[True][name] + counts[False][name], counts[True][name]
            words = name.removeprefix("test_").replace("_", " ")
            rows.append((words, str(tried), str(survived), ""))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    terminalreporter.section("faults")
    for index, (*cells, seen) in enumerate(rows):
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        terminalreporter.write_line(f"| {' | '.join([*padded, seen])} |")
        if index == 0:
            terminalreporter.write_line(f"|{'|'.join('-' * (width + 2) for width in widths)}|---|")


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # a worker process of pytest-xdist
        session.config.workeroutput["faults"] = _FAULTS.rows


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    rows = getattr(node, "workeroutput", {}).get("faults", [])
    _FAULTS.rows.extend(tuple(row) for row in rows)


@pytest.fixture(scope="session")
def job(data_dir):
    """Function that makes jobs (see `harness.Job`) on the tiny demo datasets."""
    from faults.harness import Job

    def make_job(kind: str, workdir: Path, *overrides: str, **options):
        return Job(kind, workdir, data_dir, overrides, **options)

    return make_job
