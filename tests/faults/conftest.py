"""What was done to the runs, how often, and what their users saw: a table when all is over."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_HEAD = ("fault", "tried", "survived", "what the user saw")


@dataclass
class Faults:
    """The faults tried so far."""

    rows: list[tuple[str, int, int, str]] = field(default_factory=list)

    def record(self, fault: str, tried: int, survived: int, saw: str) -> None:
        """One fault.

        Args:
            fault: what was done, such as "kill -9 while saving".
            tried: how often.
            survived: how often it ended as promised; all of them, or the test fails.
            saw: the exit code, and the line the user reads.
        """
        self.rows.append((fault, tried, survived, re.sub(r"(?<= )/\S*/", "…/", saw)))
        assert survived == tried, fault


_FAULTS = Faults()


@pytest.fixture(scope="session")
def faults():
    """Where tests put down what they tried: `faults.record(fault, tried, survived, saw)`."""
    return _FAULTS


def pytest_terminal_summary(terminalreporter):
    if not _FAULTS.rows:
        return
    rows = [_HEAD, *((fault, str(n), str(m), saw) for fault, n, m, saw in _FAULTS.rows)]
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
