"""What the runs of a study took, and the learning rates that they tried."""

from ssl_jax.reporting.grids import MISSING, Grid
from ssl_jax.reporting.records import Records

__all__ = ["cost_grid", "search_grid"]


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
