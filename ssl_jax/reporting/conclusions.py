"""The conclusion from a table, as a sentence."""

from collections.abc import Sequence

from ssl_jax.reporting.estimates import Estimate, estimate_contrast, format_signed
from ssl_jax.reporting.study_results import StudyResults
from ssl_jax.studies.plan import Table

__all__ = ["state_conclusion"]


def state_conclusion(results: StudyResults, table: Table) -> str:
    """Summarise the headline contrasts of a table in one sentence.

    Args:
        results: The results of the study.
        table: A table of the study.

    Returns:
        The sentence; empty if none of the contrasts has results.
    """
    clauses = []
    for contrast in table.contrasts:
        estimates = [
            (column, estimate)
            for column, estimate in enumerate(estimate_contrast(results, table, contrast))
            if estimate is not None
        ]
        if contrast.headline and estimates:
            differences = ", ".join(_format_differences(table, estimates))
            verdict = _judge_effect([estimate for _, estimate in estimates])
            clauses.append(f"{contrast.what} {verdict} ({differences})")
    return f"{table.subject}: " + "; ".join(clauses) + "." if clauses else ""


def _format_differences(table: Table, estimates: Sequence[tuple[int, Estimate]]) -> list[str]:
    """Format the difference in each column, with the metric where it changes."""
    texts = []
    previous_metric = None
    for column, estimate in estimates:
        text = format_signed(estimate)
        metric = table.metrics[column]
        if metric != previous_metric:
            text += f" {'point' if abs(estimate.mean) == 1 else 'points'} of {metric}"
        texts.append(text + _format_column(table, column))
        previous_metric = metric
    return texts


def _format_column(table: Table, column: int) -> str:
    """Return the heading of a column if its metric does not identify it."""
    return f" at {table.columns[column]}" if len(set(table.metrics)) < len(table.metrics) else ""


def _judge_effect(estimates: Sequence[Estimate]) -> str:
    """Judge the differences in all columns.

    The effect helps or hurts if all differences have the same sign and their mean is larger than
    their mean margin.
    """
    mean_margin = sum(estimate.margin for estimate in estimates) / len(estimates)
    mean = sum(estimate.mean for estimate in estimates) / len(estimates)
    if mean > mean_margin and all(estimate.mean > 0 for estimate in estimates):
        return "helps"
    if mean < -mean_margin and all(estimate.mean < 0 for estimate in estimates):
        return "hurts"
    return "makes no clear difference"
