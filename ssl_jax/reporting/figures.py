"""All figures of the report, rendered as PNG."""

import io
from collections.abc import Callable

import matplotlib as mpl
from matplotlib.figure import Figure

from ssl_jax.reporting import charts, image_grids
from ssl_jax.reporting.page import RenderedFigure
from ssl_jax.reporting.report_figure import ReportFigure
from ssl_jax.reporting.study_results import StudyResults

__all__ = ["draw_figures"]

# In the order of the figures within a section.
_DRAW_FUNCTIONS: tuple[Callable[[StudyResults], list[ReportFigure]], ...] = (
    charts.draw_accuracy_bars,
    image_grids.draw_scene_gallery,
    image_grids.draw_segmentations,
    charts.draw_confusion_matrices,
    image_grids.draw_reconstructions,
    image_grids.draw_simclr_views,
    charts.draw_pretraining_curves,
    charts.draw_transfer_curves,
)
_STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.dpi": 110,
    "savefig.bbox": "tight",
}


def draw_figures(results: StudyResults) -> list[RenderedFigure]:
    """Draw the figures for which there are results, in the order of the report."""
    with mpl.rc_context(_STYLE):
        return [
            RenderedFigure(figure.section, figure.name, figure.caption, _render_png(figure.figure))
            for draw in _DRAW_FUNCTIONS
            for figure in draw(results)
        ]


def _render_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()
