"""Tables of the report: scores, differences, learning rates and training costs."""

from ssl_jax.reporting.estimates import (
    ONE_SEED_MARGIN,
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


def uses_other_data(results: StudyResults, table: Table) -> bool:
    """Return whether any run of a table used a demo dataset instead of the paper's data."""
    names = (name for row in table.rows for cell in row.cells for name in cell.runs)
    return any(results.by_run[name]["data"]["embedded"] for name in names if name in results.by_run)


def make_result_table(results: StudyResults, table: Table) -> TextTable:
    """Make the table of scores, with the published values beside them.

    The best score of each column is bold.

    Args:
        results: The results of the study.
        table: A table of the study.
    """
    published_columns = [
        column
        for column in range(len(table.columns))
        if any(row.cells[column].published is not None for row in table.rows)
    ]
    dagger = "†" if uses_other_data(results, table) else ""
    published_header = (f"paper {table.columns[column]}{dagger}" for column in published_columns)
    estimates = [[estimate_cell(results, cell) for cell in row.cells] for row in table.rows]
    marks = {row.note: "*" * (i + 1) for i, row in enumerate(r for r in table.rows if r.note)}
    rows = tuple(
        (
            row.title + (" " + marks[row.note] if row.note else ""),
            *(MISSING if value is None else str(value) for value in values),
            *(_format_published(row, column) for column in published_columns),
        )
        for row, values in zip(table.rows, estimates, strict=True)
    )
    below = tuple(
        (
            "",
            *(_format_interval(value, "{:.1f}") for value in values),
            *("" for _ in published_columns),
        )
        for values in estimates
    )
    notes = [table.note, _describe_data(results, table), _describe_seeds(table)]
    if any(any(texts) for texts in below):
        notes.append(
            "Below each value is its 95 % bootstrap interval over the test examples, with the "
            "trained networks fixed."
        )
    if dagger and published_columns:
        notes.append("† Published values, measured on other data than ours.")
    notes += [f"{mark} {note}" for note, mark in marks.items()]
    return TextTable(
        table.title,
        ("", *table.columns, *published_header),
        rows,
        tuple(row.baseline for row in table.rows),
        below,
        _find_best(estimates),
        tuple(note for note in notes if note),
    )


def _find_best(estimates: list[list[Estimate | None]]) -> frozenset[tuple[int, int]]:
    """Find the (row, column) of the best score in each column with several scores.

    Columns are those of the text table, in which the row titles come first.
    """
    best = set()
    for column, values in enumerate(zip(*estimates, strict=True)):
        scores = [(value.mean, row) for row, value in enumerate(values) if value is not None]
        if len(scores) > 1:
            best.add((max(scores)[1], column + 1))
    return frozenset(best)


def _format_published(row: Row, column: int) -> str:
    published = row.cells[column].published
    return MISSING if published is None else f"{published:.2f}"


def _format_interval(estimate: Estimate | None, number_format: str) -> str:
    if estimate is None or estimate.interval is None:
        return ""
    low, high = (number_format.format(end).replace("-", "−") for end in estimate.interval)
    return f"{low} to {high}"


def _describe_data(results: StudyResults, table: Table) -> str:
    """Name the dataset and its number of examples, in each column if they differ."""
    dataset, counts = "", {}
    for column, heading in enumerate(table.columns):
        names = [name for row in table.rows for name in row.cells[column].runs]
        data = [results.by_run[name]["data"] for name in names if name in results.by_run]
        if data:
            dataset = dataset or data[0]["name"]
            counts[heading] = (
                f"{data[0]['train']:,} training and {data[0]['evaluation']:,} test examples"
            )
    if not counts:
        return ""
    if len(set(counts.values())) == 1:
        return f"Dataset: {dataset} ({next(iter(counts.values()))})."
    return f"Dataset: {dataset} (" + "; ".join(f"{h}: {c}" for h, c in counts.items()) + ")."


def _describe_seeds(table: Table) -> str:
    seeds = {len(cell.runs) for row in table.rows for cell in row.cells}
    if seeds == {1}:
        return "One seed: differences of one or two points may be due to chance."
    return f"Mean ± standard deviation over {max(seeds)} seeds."


def make_contrast_table(results: StudyResults, table: Table) -> TextTable:
    """Make the table of a table's contrasts, in points, with clear differences in bold.

    Args:
        results: The results of the study.
        table: A table of the study.
    """
    rows, below, bold = [], [], set()
    for number, contrast in enumerate(table.contrasts):
        estimates = estimate_contrast(results, table, contrast)
        rows.append(
            (
                contrast.what[0].upper() + contrast.what[1:],
                *(MISSING if value is None else format_signed(value) for value in estimates),
                f"{contrast.row} minus {contrast.against}",
            )
        )
        below.append(("", *(_format_interval(value, "{:+.1f}") for value in estimates), ""))
        bold |= {(number, i + 1) for i, value in enumerate(estimates) if value and value.is_clear}
    notes = (
        "Differences in bold are unlikely to be due to chance: zero is outside the 95 % bootstrap "
        "interval over the test examples, which is printed below the difference and is paired if "
        "both rows were tested on the same examples, and outside Student's 95 % interval over the "
        f"seeds. With one seed, more than {ONE_SEED_MARGIN:.0f} points are required instead.",
    )
    title = f"{table.subject}: differences in points"
    header = ("", *table.columns, "difference")
    return TextTable(
        title, header, tuple(rows), below=tuple(below), bold=frozenset(bold), notes=notes
    )


def make_cost_table(results: StudyResults) -> TextTable:
    """Make the table of the training cost of each run that is done."""
    rows = []
    for name, run_results in results.by_run.items():
        cost = run_results["cost"]
        rows.append(
            (
                name,
                f"{run_results['steps']:,}",
                f"{cost['seconds']:,.1f}",
                f"{cost['examples_per_second']:,.0f}",
                f"{100 * cost['waiting_fraction']:.1f} %",
                f"{cost['parameters'] / 1e6:.2f} M",
                f"{cost['peak_rss_bytes'] / 2**30:.1f} GiB",
                f"{cost['devices']} × {cost['device_kind']}",
            )
        )
    total = sum(run_results["cost"]["seconds"] for run_results in results.by_run.values())
    header = ("run", "steps", "seconds", "examples/s", "waiting for data", "parameters",
              "peak memory", "devices")  # fmt: skip
    notes = (
        f"{len(rows)} of {len(results.study.runs)} runs, {total:,.0f} seconds in total. With a "
        "frozen backbone, the examples are features that were computed once.",
    )
    return TextTable("Training cost", header, tuple(rows), notes=notes)


def make_search_table(results: StudyResults) -> TextTable | None:
    """Make the table of the learning rates that runs searched; return None if none did."""
    searches = {
        name: search
        for name, run_results in results.by_run.items()
        if (search := run_results.get("search"))
    }
    if not searches:
        return None
    candidates = [c for search in searches.values() for c in search["candidates"]]
    rates = sorted({candidate["learning_rate"] for candidate in candidates})
    rows, bold = [], set()
    for number, (name, search) in enumerate(searches.items()):
        scores = {
            c["learning_rate"]: f"{100 * c['figure']:.1f}" if "figure" in c else "diverged"
            for c in search["candidates"]
        }
        rows.append((name, *(scores.get(rate, MISSING) for rate in rates), search["metric"]))
        bold.add((number, 1 + rates.index(search["learning_rate"])))
    notes = (
        "Bold: the learning rate with which the run was then trained. It was selected on a "
        "validation fraction of the run's own training examples, which the candidates were not "
        "trained on. The test examples of the tables above were not used.",
    )
    header = ("run", *(f"{rate:g}" for rate in rates), "metric")
    return TextTable(
        "Learning rates and their validation scores in percent",
        header,
        tuple(rows),
        bold=frozenset(bold),
        notes=notes,
    )
