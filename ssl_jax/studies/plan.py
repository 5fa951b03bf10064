"""A study as data: named runs, what each needs first, and the tables that their figures fill.

A study's workdir holds one folder a run, under the run's name.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from data_pipelines.errors import UserError

__all__ = ["Cell", "Contrast", "Row", "Run", "Study", "Table", "select_runs"]


@dataclass(frozen=True)
class Run:
    """One training run of a study.

    Attributes:
        name: also its folder below the study's workdir, such as `scenes/mae_vitb_ben4/2-8/seed0`.
        config: as `ssl_jax.train` takes it.
        needs: runs that must be done first; the backbone it starts from is that of the first.
        awaits: what the user has to bring before it can start, as a sentence; empty for nothing.

    Raises:
        UserError: the name is that of no folder below another.
    """

    name: str
    config: ConfigDict
    needs: tuple[str, ...] = ()
    awaits: str = ""

    def __post_init__(self) -> None:
        if not is_relative_folder(self.name):
            raise UserError(
                f"study: a run is named {self.name!r}; expected folders below the study's workdir, "
                "such as scenes/mae/seed0"
            )

    def config_in(self, workdir: Path) -> ConfigDict:
        """Its config, with the backbone to start from found below the study's `workdir`."""
        config = ConfigDict(self.config.to_dict())
        if self.needs:
            config.pretrained = str(workdir / self.needs[0])
        return config


@dataclass(frozen=True)
class Cell:
    """A figure of a table: the mean of one metric over runs that differ in their seed.

    Attributes:
        runs: their names.
        metric: its name in the runs' `results.json`, a fraction.
        published: the paper's figure, in percent.
    """

    runs: tuple[str, ...]
    metric: str
    published: float | None = None


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        title: what was tried.
        cells: one a column.
        note: what a reader must know of it, printed under the table.
        baseline: nothing was learned before the transfer.
    """

    title: str
    cells: tuple[Cell, ...]
    note: str = ""
    baseline: bool = False


@dataclass(frozen=True)
class Contrast:
    """A question put to a table: `row` less the row `against`, column by column.

    Attributes:
        what: the answer's subject, such as `pretraining by SimCLR`.
        row: title of the row that has it.
        against: title of the row that lacks it.
        headline: whether the report opens with it.
    """

    what: str
    row: str
    against: str
    headline: bool = True


@dataclass(frozen=True)
class Table:
    """A table of the report.

    Attributes:
        name: a word for files.
        title: as it is printed above.
        subject: the task, as a sentence begins with it.
        columns: headings, one for each of a row's cells.
        metrics: what each column measures, in words.
        rows: what was tried.
        contrasts: what the table is to answer.
        note: what the paper says of it beyond the figures.

    Raises:
        UserError: the name is no word for files.
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
        if not is_relative_folder(self.name) or "/" in self.name:
            raise UserError(f"study: a table is named {self.name!r}; expected a word for its files")

    def row(self, title: str) -> Row:
        """The row of that title."""
        return next(row for row in self.rows if row.title == title)


@dataclass(frozen=True)
class Study:
    """Runs in the order they are to be tried, the tables they fill, and a note on all of it."""

    title: str
    runs: tuple[Run, ...]
    tables: tuple[Table, ...]
    note: str = ""

    def __post_init__(self) -> None:
        earlier: set[str] = set()
        for run in self.runs:
            late = [name for name in run.needs if name not in earlier]
            if run.name in earlier or late:
                raise UserError(
                    f"study: run {run.name} "
                    + (f"needs {late[0]}, which does not come before it" if late else "comes twice")
                )
            earlier.add(run.name)

    def to_dict(self) -> dict[str, Any]:
        """The study as `study.json` holds it; the runs' configs stand in their folders."""
        runs = [{"name": r.name, "needs": list(r.needs), "awaits": r.awaits} for r in self.runs]
        tables = [dataclasses.asdict(table) for table in self.tables]
        return {"title": self.title, "runs": runs, "tables": tables, "note": self.note}

    @classmethod
    def from_dict(cls, study: Mapping[str, Any]) -> "Study":
        """The study that `to_dict` wrote, its runs with empty configs.

        Raises:
            UserError: it is none.
        """
        try:
            runs = tuple(
                Run(r["name"], ConfigDict(), tuple(r["needs"]), r["awaits"]) for r in study["runs"]
            )
            tables = tuple(_table(table) for table in study["tables"])
            return cls(str(study["title"]), runs, tables, str(study["note"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"study: found {type(error).__name__}: {error} in its description; expected it as "
                "`python -m ssl_jax.study` writes it: run that again"
            ) from error


def is_relative_folder(name: Any) -> bool:
    """Whether a name is that of a folder below another, whatever that other one is."""
    return (
        isinstance(name, str)
        and bool(name)
        and "\0" not in name
        and "\\" not in name
        and all(part not in ("", ".", "..") for part in name.split("/"))
    )


def _table(table: Mapping[str, Any]) -> Table:
    rows = tuple(
        Row(
            **{**row, "cells": tuple(Cell(**{**c, "runs": tuple(c["runs"])}) for c in row["cells"])}
        )
        for row in table["rows"]
    )
    lists = {name: tuple(table[name]) for name in ("columns", "metrics")}
    contrasts = tuple(Contrast(**contrast) for contrast in table["contrasts"])
    return Table(**{**table, **lists, "rows": rows, "contrasts": contrasts})


def select_runs(runs: Sequence[Run], pattern: str) -> tuple[Run, ...]:
    """The runs that a pattern names: a whole name, the folders a name begins with, or with `*`.

    Raises:
        UserError: there are none.
    """
    folder = pattern.rstrip("/")
    chosen = tuple(
        run
        for run in runs
        if run.name == folder or run.name.startswith(folder + "/") or fnmatchcase(run.name, pattern)
    )
    if not chosen:
        raise UserError(
            f"--only {pattern}: the study has no such run; expected a name that --list shows, the "
            "folders it begins with, or a pattern with *"
        )
    return chosen
