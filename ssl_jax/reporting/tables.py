"""The study's figures: means over seeds, differences between rows, and what they say in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssl_jax.metrics import intervals
from ssl_jax.metrics.intervals import Interval, Outcomes
from ssl_jax.reporting.records import Records
from ssl_jax.studies.plan import Cell, Contrast, Row, Table

__all__ = [
    "MISSING",
    "Figure",
    "Grid",
    "answer",
    "cost_grid",
    "difference",
    "difference_grid",
    "figure",
    "is_other_data",
    "result_grid",
    "search_grid",
    "to_dict",
]

MISSING = "–"

# Points that a single seed may be off by; what the table's note says in words.
_ONE_SEED = 2.0


@dataclass(frozen=True)
class Figure:
    """A mean over seeds, in percent or in points.

    Attributes:
        mean: the mean.
        std: the standard deviation over the seeds (n - 1 in the denominator); NaN for one seed.
        seeds: how many there are.
        interval: where the mean would lie with other test examples; None where nobody knows.
    """

    mean: float
    std: float
    seeds: int
    interval: Interval | None

    def __str__(self) -> str:
        return f"{self.mean:.1f}" + ("" if math.isnan(self.std) else f" ± {self.std:.1f}")

    @property
    def chance(self) -> float:
        """The distance from zero below which the mean, if of differences, may be chance.

        It is the larger of what the test examples and what the seeds leave open.
        """
        seeds = intervals.student(self.std, self.seeds) if self.seeds > 1 else _ONE_SEED
        if self.interval is None:
            return seeds
        low, high = self.interval
        return max(seeds, self.mean - low if self.mean > 0 else high - self.mean)

    @property
    def clear(self) -> bool:
        """Whether a difference is more than chance."""
        return abs(self.mean) > self.chance


@dataclass(frozen=True)
class Grid:
    """A table of text, ready to be set in Markdown, HTML or at the terminal.

    Attributes:
        title: what it shows.
        header: a heading for each column; the first names the rows.
        rows: a text for each column.
        groups: by row, whether it belongs to the baselines and is set apart.
        below: what stands in small print below each text; empty for nothing.
        bold: by row and column, what stands out.
        notes: what stands below the table.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    groups: tuple[bool, ...] = ()
    below: tuple[tuple[str, ...], ...] = ()
    bold: frozenset[tuple[int, int]] = frozenset()
    notes: tuple[str, ...] = ()


def figure(records: Records, cell: Cell) -> Figure | None:
    """A cell's figure in percent, over those of its runs that are done; None if none is."""
    done = [name for name in cell.runs if name in records.results]
    values = [records.results[name]["metrics"][cell.metric] for name in done]
    runs = _outcomes(records, done, cell)
    return _summary(values, intervals.mean(runs) if runs else None)


def difference(records: Records, cell: Cell, against: Cell) -> Figure | None:
    """`cell` less `against` in points, seed by seed where both are done."""
    pairs = [
        (first, second)
        for first, second in zip(cell.runs, against.runs, strict=True)
        if first in records.results and second in records.results
    ]
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    ours, theirs = (
        [records.results[name]["metrics"][which.metric] for name in names]
        for names, which in ((first, cell), (second, against))
    )
    runs, others = _outcomes(records, first, cell), _outcomes(records, second, against)
    paired = all(records.tested_on(one) == records.tested_on(other) != "" for one, other in pairs)
    interval = intervals.difference(runs, others, paired) if runs and others else None
    return _summary([a - b for a, b in zip(ours, theirs, strict=True)], interval)


def _outcomes(records: Records, names: Sequence[str], cell: Cell) -> list[Outcomes]:
    """What is behind the cell's figures, run by run; empty unless it is known of all."""
    found = [records.outcomes(name, cell.metric) for name in names]
    known = [outcomes for outcomes in found if outcomes is not None]
    return known if len(known) == len(names) else []


def _summary(fractions: Sequence[float], interval: Interval | None) -> Figure | None:
    if not fractions:
        return None
    std = 100 * float(np.std(fractions, ddof=1)) if len(fractions) > 1 else math.nan
    percent = interval and Interval(100 * interval.low, 100 * interval.high)
    return Figure(100 * float(np.mean(fractions)), std, len(fractions), percent)


def is_other_data(records: Records, table: Table) -> bool:
    """Whether any of the table's runs was done on embedded data instead of the paper's."""
    names = (name for row in table.rows for cell in row.cells for name in cell.runs)
    return any(
        records.results[name]["data"]["embedded"] for name in names if name in records.results
    )


def result_grid(records: Records, table: Table) -> Grid:
    """The table with the paper's figures, where it gives any, beside ours."""
    given = [
        column
        for column in range(len(table.columns))
        if any(row.cells[column].published is not None for row in table.rows)
    ]
    other = "†" if is_other_data(records, table) else ""
    header = ("", *table.columns, *(f"paper {table.columns[column]}{other}" for column in given))
    figures = [[figure(records, cell) for cell in row.cells] for row in table.rows]
    marks = {row.note: "*" * (i + 1) for i, row in enumerate(r for r in table.rows if r.note)}
    rows = tuple(
        (
            row.title + (" " + marks[row.note] if row.note else ""),
            *(MISSING if value is None else str(value) for value in values),
            *(_published(row, column) for column in given),
        )
        for row, values in zip(table.rows, figures, strict=True)
    )
    below = tuple(
        ("", *(_range(value, "{:.1f}") for value in values), *("" for _ in given))
        for values in figures
    )
    best = set()
    for column in range(len(table.columns)):
        values = [(f.mean, i) for i, row in enumerate(figures) if (f := row[column]) is not None]
        if len(values) > 1:
            best.add((max(values)[1], column + 1))
    notes = [table.note, _where(records, table), _seeds(table)]
    if any(any(texts) for texts in below):
        notes.append(
            "Below each figure stands the 95 % bootstrap interval over the test examples: where it "
            "would lie with others, the networks as they are."
        )
    if other and given:
        notes.append("† The paper's figures, which are of other data than ours.")
    notes += [f"{mark} {note}" for note, mark in marks.items()]
    return Grid(
        table.title,
        header,
        rows,
        tuple(row.baseline for row in table.rows),
        below,
        frozenset(best),
        tuple(note for note in notes if note),
    )


def _published(row: Row, column: int) -> str:
    published = row.cells[column].published
    return MISSING if published is None else f"{published:.2f}"


def _where(records: Records, table: Table) -> str:
    """Which data and how many examples the figures stand for."""
    parts = []
    for column, title in enumerate(table.columns):
        names = [name for row in table.rows for name in row.cells[column].runs]
        data = [records.results[name]["data"] for name in names if name in records.results]
        if data:
            one = data[0]
            counts = f"{one['train']:,} to train, {one['evaluation']:,} to test"
            parts.append((one["name"], title, counts))
    if not parts:
        return ""
    if len({counts for *_, counts in parts}) == 1:
        return f"Measured on {parts[0][0]}: {parts[0][2]}."
    return f"Measured on {parts[0][0]}: " + "; ".join(f"{t} {c}" for _, t, c in parts) + "."


def _range(value: Figure | None, form: str) -> str:
    """An interval in words; empty where there is none."""
    if value is None or value.interval is None:
        return ""
    low, high = (form.format(end).replace("-", "−") for end in value.interval)
    return f"{low} to {high}"


def _seeds(table: Table) -> str:
    seeds = {len(cell.runs) for row in table.rows for cell in row.cells}
    if seeds == {1}:
        return "One seed: a difference of a point or two may be chance."
    return f"Mean ± standard deviation over {max(seeds)} seeds."


def difference_grid(records: Records, table: Table) -> Grid:
    """The table's contrasts, in points; those that are more than chance stand out."""
    rows, below, bold = [], [], set()
    for number, contrast in enumerate(table.contrasts):
        values = _differences(records, table, contrast)
        rows.append(
            (
                contrast.what[0].upper() + contrast.what[1:],
                *(MISSING if value is None else _signed(value) for value in values),
                f"{contrast.row} less {contrast.against}",
            )
        )
        below.append(("", *(_range(value, "{:+.1f}") for value in values), ""))
        bold |= {(number, i + 1) for i, value in enumerate(values) if value and value.clear}
    notes = (
        "Bold is more than chance: the 95 % bootstrap interval over the test examples, which "
        "stands below and is paired where both rows were tested on the same, leaves out "
        f"zero, and so does Student's over the seeds; of one seed, more than {_ONE_SEED:.0f} "
        "points are asked.",
    )
    title = f"{table.subject}: what it adds, in points"
    header = ("", *table.columns, "which is")
    return Grid(title, header, tuple(rows), below=tuple(below), bold=frozenset(bold), notes=notes)


def _differences(records: Records, table: Table, contrast: Contrast) -> list[Figure | None]:
    cells = zip(table.row(contrast.row).cells, table.row(contrast.against).cells, strict=True)
    return [difference(records, cell, against) for cell, against in cells]


def _signed(value: Figure) -> str:
    return ("+" if value.mean >= 0 else "−") + str(value).lstrip("-")


def answer(records: Records, table: Table) -> str:
    """What the table says, as one sentence made of its headline contrasts."""
    clauses = []
    for contrast in table.contrasts:
        values = _differences(records, table, contrast)
        known = [(i, value) for i, value in enumerate(values) if value is not None]
        if contrast.headline and known:
            said = ", ".join(
                f"{_signed(value)} {'point' if abs(value.mean) == 1 else 'points'} of "
                f"{table.metrics[i]}" + _at(table, i)
                if n == 0 or table.metrics[i] != table.metrics[known[n - 1][0]]
                else f"{_signed(value)}{_at(table, i)}"
                for n, (i, value) in enumerate(known)
            )
            clauses.append(f"{contrast.what} {_verdict(known)} ({said})")
    return f"{table.subject}: " + "; ".join(clauses) + "." if clauses else ""


def _at(table: Table, column: int) -> str:
    return f" at {table.columns[column]}" if len(set(table.metrics)) < len(table.metrics) else ""


def _verdict(known: Sequence[tuple[int, Figure]]) -> str:
    """`helps` or `hurts` if it does so in all columns, on average by more than may be chance."""
    values = [value for _, value in known]
    chance = sum(value.chance for value in values) / len(values)
    average = sum(value.mean for value in values) / len(values)
    if average > chance and all(value.mean > 0 for value in values):
        return "helps"
    if average < -chance and all(value.mean < 0 for value in values):
        return "hurts"
    return "makes no clear difference"


def cost_grid(records: Records) -> Grid:
    """What each run took."""
    rows = []
    for name, results in records.results.items():
        cost = results["cost"]
        rows.append(
            (
                name,
                f"{results['steps']:,}",
                f"{cost['seconds']:,.1f}",
                f"{cost['examples_per_second']:,.0f}",
                f"{100 * cost['waiting_fraction']:.1f} %",
                f"{cost['parameters'] / 1e6:.2f} M",
                f"{cost['peak_rss_bytes'] / 2**30:.1f} GiB",
                f"{cost['devices']} × {cost['device_kind']}",
            )
        )
    total = sum(results["cost"]["seconds"] for results in records.results.values())
    header = ("run", "steps", "seconds", "examples/s", "waiting for data", "parameters",
              "peak memory", "devices")  # fmt: skip
    notes = (
        f"{len(rows)} of {len(records.study.runs)} runs, {total:,.0f} seconds together. With a "
        "frozen backbone the examples are features that were computed once.",
    )
    return Grid("What it cost", header, tuple(rows), notes=notes)


def search_grid(records: Records) -> Grid | None:
    """Which learning rates runs tried and chose; None if none of them did."""
    searches = {name: results.get("search") for name, results in records.results.items()}
    found = {name: search for name, search in searches.items() if search}
    if not found:
        return None
    tried = {c["learning_rate"] for search in found.values() for c in search["candidates"]}
    rates = sorted(tried)
    rows, bold = [], set()
    for number, (name, search) in enumerate(found.items()):
        figures = {
            c["learning_rate"]: f"{100 * c['figure']:.1f}" if "figure" in c else "diverged"
            for c in search["candidates"]
        }
        rows.append((name, *(figures.get(rate, MISSING) for rate in rates), search["metric"]))
        bold.add((number, 1 + rates.index(search["learning_rate"])))
    notes = (
        "Bold is the rate the run was then trained with. It was chosen on a part of the run's own "
        "training examples that was kept from the candidates; the examples of the tables above had "
        "no say.",
    )
    header = ("run", *(f"{rate:g}" for rate in rates), "judged by")
    return Grid(
        "Learning rates that were tried, and their figures in percent",
        header,
        tuple(rows),
        bold=frozenset(bold),
        notes=notes,
    )


def to_dict(records: Records) -> dict[str, Any]:
    """The study's `results.json`: figures in percent, differences in points."""

    def numbers(value: Figure | None) -> dict[str, Any] | None:
        if value is None:
            return None
        std = None if math.isnan(value.std) else value.std
        interval = None if value.interval is None else list(value.interval)
        return {"mean": value.mean, "std": std, "seeds": value.seeds, "interval": interval}

    tables = {}
    for table in records.study.tables:
        rows = {
            row.title: {
                column: {"ours": numbers(figure(records, cell)), "paper": cell.published}
                for column, cell in zip(table.columns, row.cells, strict=True)
            }
            for row in table.rows
        }
        differences = {
            contrast.what: {
                column: numbers(value)
                for column, value in zip(
                    table.columns, _differences(records, table, contrast), strict=True
                )
            }
            for contrast in table.contrasts
        }
        tables[table.name] = {
            "title": table.title,
            "other_data": is_other_data(records, table),
            "rows": rows,
            "differences": differences,
            "answer": answer(records, table),
        }
    runs = {name: results["metrics"] for name, results in records.results.items()}
    return {"title": records.study.title, "tables": tables, "runs": runs}
