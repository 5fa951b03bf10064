"""A study as data: named runs, the runs that each of them needs, and tables of their scores.

A study's workdir contains a folder for each run, named like the run.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from data_pipelines.errors import UserError

__all__ = ["Cell", "Contrast", "Row", "Run", "Study", "Table", "read_study", "select_runs"]


@dataclass(frozen=True)
class Run:
    """A training run of a study.

    Attributes:
        name: Name of the run, which is also its path below the study's workdir, such as
            `scenes/mae_vitb_ben4/2-8/seed0`.
        config: Config, as for `ssl_jax.train`.
        needs: Names of the runs that must be done before; the backbone of the first of them is the
            initial backbone of this run.
        awaits: What the user has to provide before the run can start, as a sentence; empty if
            nothing.

    Raises:
        UserError: If the name is not a relative path.
    """

    name: str
    config: ConfigDict
    needs: tuple[str, ...] = ()
    awaits: str = ""

    def __post_init__(self) -> None:
        if not is_relative_path(self.name):
            raise UserError(
                f"study: found run name {self.name!r}; expected a path below the study's workdir, "
                "such as scenes/mae/seed0"
            )

    def resolve_config(self, workdir: Path) -> ConfigDict:
        """Return the config with `pretrained` set to the first needed run below `workdir`."""
        config = ConfigDict(self.config.to_dict())
        if self.needs:
            config.pretrained = str(workdir / self.needs[0])
        return config


@dataclass(frozen=True)
class Cell:
    """A table cell: the mean score of runs that differ in their seed.

    Attributes:
        runs: Names of the runs.
        metric: Name of the metric in the `results.json` of the runs, where it is a fraction.
        published: The value in the paper, in percent; None if it has no such value.
    """

    runs: tuple[str, ...]
    metric: str
    published: float | None = None


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        title: Title of the row, such as a method.
        cells: One cell for each column.
        note: Note that is printed below the table.
        baseline: Whether the row is a baseline without pretraining.
    """

    title: str
    cells: tuple[Cell, ...]
    note: str = ""
    baseline: bool = False


@dataclass(frozen=True)
class Contrast:
    """A comparison of two rows of a table: the difference in each column.

    Attributes:
        what: What the difference is attributed to, such as `pretraining by SimCLR`.
        row: Title of the row with it.
        against: Title of the row without it, which is subtracted.
        headline: Whether the summary of the report includes it.
    """

    what: str
    row: str
    against: str
    headline: bool = True


@dataclass(frozen=True)
class Table:
    """A table of the report.

    Attributes:
        name: Name, which is part of file names.
        title: Title, printed above the table.
        subject: The task, as the first words of a sentence.
        columns: Heading of each column.
        metrics: Metric of each column, in words.
        rows: The rows.
        contrasts: The comparisons of rows to report.
        note: Note on the table as a whole, printed below it.

    Raises:
        UserError: If the name can't be part of a file name.
    """

    name: str
    title: str
    subject: str
    columns: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    contrasts: tuple[Contrast, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        if not is_relative_path(self.name) or "/" in self.name:
            raise UserError(
                f"study: found table name {self.name!r}; expected a word for file names, such as "
                "scenes"
            )

    def find_row(self, title: str) -> Row:
        """Return the row with the given title."""
        return next(row for row in self.rows if row.title == title)


@dataclass(frozen=True)
class Study:
    """A study.

    Attributes:
        title: Title of the report.
        runs: The runs in the order of training, each after the runs that it needs.
        tables: The tables of the report.
        note: Note on all tables.

    Raises:
        UserError: If a run is defined twice or needs a run that does not come before it.
    """

    title: str
    runs: tuple[Run, ...]
    tables: tuple[Table, ...]
    note: str = ""

    def __post_init__(self) -> None:
        defined: set[str] = set()
        for run in self.runs:
            missing = [name for name in run.needs if name not in defined]
            if run.name in defined or missing:
                raise UserError(
                    f"study: run {run.name} "
                    + (
                        f"needs {missing[0]}, which does not come before it"
                        if missing
                        else "is defined twice; expected unique names"
                    )
                )
            defined.add(run.name)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `study.json`; the runs' configs are recorded in their folders."""
        runs = [{"name": r.name, "needs": list(r.needs), "awaits": r.awaits} for r in self.runs]
        tables = [dataclasses.asdict(table) for table in self.tables]
        return {"title": self.title, "runs": runs, "tables": tables, "note": self.note}

    @classmethod
    def from_dict(cls, study: Mapping[str, Any]) -> "Study":
        """Create a study from the result of `to_dict`; the configs of its runs are empty.

        Raises:
            UserError: If `study` does not have the format of `to_dict`.
        """
        try:
            runs = tuple(
                Run(r["name"], ConfigDict(), tuple(r["needs"]), r["awaits"]) for r in study["runs"]
            )
            tables = tuple(_parse_table(table) for table in study["tables"])
            return cls(str(study["title"]), runs, tables, str(study["note"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"study: found {type(error).__name__}: {error} in study.json; expected the format "
                "that `python -m ssl_jax.study` writes; run that command again"
            ) from error


def is_relative_path(name: Any) -> bool:
    """Return whether a value is a relative path that stays below the folder it is relative to."""
    return (
        isinstance(name, str)
        and bool(name)
        and "\0" not in name
        and "\\" not in name
        and all(part not in ("", ".", "..") for part in name.split("/"))
    )


def _parse_table(table: Mapping[str, Any]) -> Table:
    rows = tuple(
        Row(
            **{**row, "cells": tuple(Cell(**{**c, "runs": tuple(c["runs"])}) for c in row["cells"])}
        )
        for row in table["rows"]
    )
    lists = {name: tuple(table[name]) for name in ("columns", "metrics")}
    contrasts = tuple(Contrast(**contrast) for contrast in table["contrasts"])
    return Table(**{**table, **lists, "rows": rows, "contrasts": contrasts})


def read_study(folder: Path) -> Study:
    """Read the study that was recorded in a workdir; the configs of its runs are empty.

    Raises:
        UserError: If `study.json` does not exist or is invalid.
    """
    path = folder / "study.json"
    if not path.exists():
        raise UserError(
            f"workdir {folder}: holds no study.json; expected the --workdir of "
            "`python -m ssl_jax.study`"
        )
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"file {path}: found invalid JSON ({error}); expected the format that "
            "`python -m ssl_jax.study` writes; run that command again"
        ) from error
    return Study.from_dict(content)


def select_runs(runs: Sequence[Run], pattern: str) -> tuple[Run, ...]:
    """Select runs by name.

    Args:
        runs: The runs to select from.
        pattern: The name of a run, the leading folders of names, or a pattern with `*`.

    Raises:
        UserError: If no run matches.
    """
    folder = pattern.rstrip("/")
    selected = tuple(
        run
        for run in runs
        if run.name == folder or run.name.startswith(folder + "/") or fnmatchcase(run.name, pattern)
    )
    if not selected:
        raise UserError(
            f"--only {pattern}: the study has no such run; expected a name that --list prints, the "
            "leading folders of names, or a pattern with *"
        )
    return selected
