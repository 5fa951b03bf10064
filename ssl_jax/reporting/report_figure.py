"""A drawing of the report and where it belongs."""

from dataclasses import dataclass

from matplotlib.figure import Figure

__all__ = ["ReportFigure"]


@dataclass(frozen=True)
class ReportFigure:
    """A figure before it is a file.

    Attributes:
        section: the name of the table it belongs to, `pretraining` or `transfer`.
        name: of its file.
        caption: what it shows.
        figure: the drawing.
    """

    section: str
    name: str
    caption: str
    figure: Figure
