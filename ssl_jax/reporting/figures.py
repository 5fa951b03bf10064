"""All figures of a report, as files."""

import io
from collections.abc import Callable

import matplotlib as mpl
from matplotlib.figure import Figure

from ssl_jax.reporting import charts, sheets
from ssl_jax.reporting.drawing import Drawing
from ssl_jax.reporting.page import Picture
from ssl_jax.reporting.records import Records

__all__ = ["draw"]

# In the order in which they stand in their sections.
_MAKERS: tuple[Callable[[Records], list[Drawing]], ...] = (
    charts.accuracy_bars,
    sheets.scene_gallery,
    sheets.segmentations,
    charts.confusion_matrices,
    sheets.reconstructions,
    sheets.simclr_views,
    charts.pretraining_curves,
    charts.transfer_curves,
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


def draw(records: Records) -> list[Picture]:
    """The figures that the records allow, in the order of the report."""
    with mpl.rc_context(_STYLE):
        return [
            Picture(drawing.section, drawing.name, drawing.caption, _png(drawing.figure))
            for make in _MAKERS
            for drawing in make(records)
        ]


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()
