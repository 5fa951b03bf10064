"""The study's tables: results beside the paper's, and the differences that they are to show."""

from ssl_jax.reporting.estimates import (
    ONE_SEED,
    Figure,
    differences,
    figure,
    signed,
)
from ssl_jax.reporting.grids import MISSING, Grid
from ssl_jax.reporting.records import Records
from ssl_jax.studies.plan import Row, Table

__all__ = ["difference_grid", "is_other_data", "result_grid"]


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
        values = differences(records, table, contrast)
        rows.append(
            (
                contrast.what[0].upper() + contrast.what[1:],
                *(MISSING if value is None else signed(value) for value in values),
                f"{contrast.row} less {contrast.against}",
            )
        )
        below.append(("", *(_range(value, "{:+.1f}") for value in values), ""))
        bold |= {(number, i + 1) for i, value in enumerate(values) if value and value.clear}
    notes = (
        "Bold is more than chance: the 95 % bootstrap interval over the test examples, which "
        "stands below and is paired where both rows were tested on the same, leaves out "
        f"zero, and so does Student's over the seeds; of one seed, more than {ONE_SEED:.0f} "
        "points are asked.",
    )
    title = f"{table.subject}: what it adds, in points"
    header = ("", *table.columns, "which is")
    return Grid(title, header, tuple(rows), below=tuple(below), bold=frozenset(bold), notes=notes)
