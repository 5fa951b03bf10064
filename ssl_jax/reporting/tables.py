"""The study's tables: results beside the paper's, differences, learning rates tried, and costs."""

from ssl_jax.reporting.estimates import (
    ONE_SEED,
    Estimate,
    estimate_cell,
    estimate_contrast,
    format_signed,
)
from ssl_jax.reporting.study_results import StudyResults
from ssl_jax.reporting.text_table import MISSING, TextTable
from ssl_jax.studies.plan import Row, Table

__all__ = [
    "make_contrast_table",
    "make_cost_table",
    "make_result_table",
    "make_search_table",
    "uses_other_data",
]


def uses_other_data(records: StudyResults, table: Table) -> bool:
    """Whether any of the table's runs was done on embedded data instead of the paper's."""
    names = (name for row in table.rows for cell in row.cells for name in cell.runs)
    return any(
        records.results[name]["data"]["embedded"] for name in names if name in records.results
    )


def make_result_table(records: StudyResults, table: Table) -> TextTable:
    """The table with the paper's figures, where it gives any, beside ours."""
    given = [
        column
        for column in range(len(table.columns))
        if any(row.cells[column].published is not None for row in table.rows)
    ]
    other = "†" if uses_other_data(records, table) else ""
    header = ("", *table.columns, *(f"paper {table.columns[column]}{other}" for column in given))
    figures = [[estimate_cell(records, cell) for cell in row.cells] for row in table.rows]
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
    return TextTable(
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


def _where(records: StudyResults, table: Table) -> str:
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


def _range(value: Estimate | None, form: str) -> str:
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


def make_contrast_table(records: StudyResults, table: Table) -> TextTable:
    """The table's contrasts, in points; those that are more than chance stand out."""
    rows, below, bold = [], [], set()
    for number, contrast in enumerate(table.contrasts):
        values = estimate_contrast(records, table, contrast)
        rows.append(
            (
                contrast.what[0].upper() + contrast.what[1:],
                *(MISSING if value is None else format_signed(value) for value in values),
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
    return TextTable(
        title, header, tuple(rows), below=tuple(below), bold=frozenset(bold), notes=notes
    )


def make_cost_table(records: StudyResults) -> TextTable:
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
    return TextTable("What it cost", header, tuple(rows), notes=notes)


def make_search_table(records: StudyResults) -> TextTable | None:
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
    return TextTable(
        "Learning rates that were tried, and their figures in percent",
        header,
        tuple(rows),
        bold=frozenset(bold),
        notes=notes,
    )
