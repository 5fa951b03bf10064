"""Figures of the report, before they are rendered."""

from dataclasses import dataclass

from matplotlib.figure import Figure

__all__ = ["ReportFigure"]


@dataclass(frozen=True)
class ReportFigure:
    """A figure of the report.

    Attributes:
        section: Section it belongs to: the name of a table, `pretraining` or `transfer`.
        name: Name of its file, without `.png`.
        caption: Caption.
        figure: The matplotlib figure.
    """

    section: str
    name: str
    caption: str
    figure: Figure
