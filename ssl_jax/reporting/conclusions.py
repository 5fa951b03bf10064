"""What a table says, in a sentence."""

from collections.abc import Sequence

from ssl_jax.reporting.estimates import Estimate, estimate_contrast, format_signed
from ssl_jax.reporting.study_results import StudyResults
from ssl_jax.studies.plan import Table

__all__ = ["state_conclusion"]


def state_conclusion(records: StudyResults, table: Table) -> str:
    """What the table says, as one sentence made of its headline contrasts."""
    clauses = []
    for contrast in table.contrasts:
        values = estimate_contrast(records, table, contrast)
        known = [(i, value) for i, value in enumerate(values) if value is not None]
        if contrast.headline and known:
            said = ", ".join(
                f"{format_signed(value)} {'point' if abs(value.mean) == 1 else 'points'} of "
                f"{table.metrics[i]}" + _at(table, i)
                if n == 0 or table.metrics[i] != table.metrics[known[n - 1][0]]
                else f"{format_signed(value)}{_at(table, i)}"
                for n, (i, value) in enumerate(known)
            )
            clauses.append(f"{contrast.what} {_verdict(known)} ({said})")
    return f"{table.subject}: " + "; ".join(clauses) + "." if clauses else ""


def _at(table: Table, column: int) -> str:
    return f" at {table.columns[column]}" if len(set(table.metrics)) < len(table.metrics) else ""


def _verdict(known: Sequence[tuple[int, Estimate]]) -> str:
    """`helps` or `hurts` if it does so in all columns, on average by more than may be chance."""
    values = [value for _, value in known]
    chance = sum(value.chance for value in values) / len(values)
    average = sum(value.mean for value in values) / len(values)
    if average > chance and all(value.mean > 0 for value in values):
        return "helps"
    if average < -chance and all(value.mean < 0 for value in values):
        return "hurts"
    return "makes no clear difference"
