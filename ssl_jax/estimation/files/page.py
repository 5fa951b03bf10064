"""The page `areas.html`: areas with their intervals beside the counts of pixels, as a picture."""

from collections.abc import Sequence
from html import escape

import numpy as np

from ssl_jax.estimation.assessment import Assessment
from ssl_jax.estimation.estimating import MapAssessment
from ssl_jax.estimation.estimators import Estimate, Interval

__all__ = ["format_percent", "format_quantity", "render_page"]


def render_page(result: MapAssessment, interval: Interval) -> str:
    """Render an assessment as an HTML page that needs no other file.

    Args:
        result: The assessment.
        interval: How intervals were made.
    """
    title = f"Areas of {result.class_map.path.name}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(_introduce(result, interval))}</p>",
    ]
    for part in (result.whole, *result.regions):
        heading = part.name or ("All regions" if result.regions else "The whole map")
        parts.append(f"<section><h2>{escape(heading)}</h2>")
        parts.append(_draw(part, result.class_map.unit))
        parts.append(_render_areas(part, result.class_map.unit))
        parts += [f"<p class='note'>{escape(note)}.</p>" for note in part.notes]
        parts.append(_render_matrix(part))
        parts.append("</section>")
    return _PAGE.format(title=escape(title), style=_STYLE, body="\n".join(parts))


def format_quantity(estimate: Estimate) -> str:
    """Return an area with its interval, such as `21,158 (15,000 – 27,315)`."""
    value, _, lower, upper = (float(part) for part in estimate)
    digits = 0 if max(abs(value), abs(upper)) >= 1000 else 2
    text = f"{value:,.{digits}f}"
    if not np.isfinite([lower, upper]).all():
        return f"{text} (no interval)"
    return f"{text} ({lower:,.{digits}f} – {upper:,.{digits}f})"


def format_percent(estimate: Estimate, sign: str = "") -> str:
    """Return a share with its interval, in percent."""
    value, _, lower, upper = (100 * float(part) for part in estimate)
    text = "–" if np.isnan(value) else f"{value:{sign}.1f}"
    if not np.isfinite([lower, upper]).all():
        return f"{text} (no interval)"
    return f"{text} ({lower:{sign}.1f} – {upper:{sign}.1f})"


def _introduce(result: MapAssessment, interval: Interval) -> str:
    kind = "score-based" if interval.method == "score" else "normal"
    text = (
        f"Estimated from {int(result.whole.counts.sum())} labelled places by stratified estimators "
        f"(Olofsson et al. 2014; Stehman 2014), with {kind} intervals of "
        f"{100 * interval.confidence:g} % confidence. Pixel counts stand beside: their difference "
        "is the bias of the map."
    )
    if result.unlabelled:
        text += f" {result.unlabelled} places have no reference and are left out."
    if result.outside:
        text += f" {result.outside} places lie outside of all regions."
    return text


def _draw(part: Assessment, unit: str) -> str:
    """Draw estimated areas with intervals, and the counts of pixels as open squares."""
    left, width, row = 190, 700, 34
    edges = [
        [float(row.area.value), float(row.area.upper), row.mapped_area] for row in part.classes
    ]
    limit = float(np.nanmax(edges)) or 1.0
    height = row * len(part.classes) + 34

    def position(area: float) -> float:
        return left + (width - left) * area / limit

    lines = []
    for index, item in enumerate(part.classes):
        y = row * index + 20
        name = item.name if len(item.name) <= 24 else f"{item.name[:23]}…"
        value = float(np.nan_to_num(item.area.value))
        low, high = (
            float(edge if np.isfinite(edge) else value)
            for edge in (item.area.lower, item.area.upper)
        )
        mapped = position(item.mapped_area)
        lines.append(
            f"<text x='{left - 10}' y='{y + 5}' text-anchor='end'>{escape(name)}</text>"
            f"<line x1='{position(low):.1f}' x2='{position(high):.1f}' y1='{y}' y2='{y}' "
            "stroke='#2f6690' stroke-width='5' stroke-linecap='round' opacity='.45'/>"
            f"<circle cx='{position(value):.1f}' cy='{y}' r='6' fill='#2f6690'/>"
            f"<rect x='{mapped - 6:.1f}' y='{y - 6}' width='12' height='12' fill='none' "
            "stroke='#d55e00' stroke-width='2'/>"
        )
    foot = (
        f"<line x1='{left}' x2='{width}' y1='{height - 26}' y2='{height - 26}' stroke='#9aa7b4'/>"
        f"<text x='{left}' y='{height - 8}'>0</text>"
        f"<text x='{width}' y='{height - 8}' text-anchor='end'>{limit:,.4g} {unit}</text>"
    )
    caption = "● estimate with interval, □ count of pixels"
    return (
        f"<figure><svg viewBox='0 0 {width + 20} {height}' role='img' aria-label='{caption}'>"
        f"{''.join(lines)}{foot}</svg><figcaption>{caption}</figcaption></figure>"
    )


def _render_areas(part: Assessment, unit: str) -> str:
    header = ["class", f"area, {unit}", f"pixel count, {unit}", "user's accuracy, %"]
    header += ["producer's accuracy, %", "labels"]
    rows = [
        [
            row.name,
            format_quantity(row.area),
            f"{row.mapped_area:,.{0 if part.total >= 1000 else 2}f}",
            format_percent(row.users),
            format_percent(row.producers),
            str(row.places),
        ]
        for row in part.classes
    ]
    overall = f"<p>Overall accuracy: {format_percent(part.overall)} %.</p>"
    return _render_table(header, rows) + overall


def _render_matrix(part: Assessment) -> str:
    names = [row.name for row in part.classes]
    rows = [
        [name, *(f"{share:.4f} ({count})" for share, count in zip(*pair, strict=True))]
        for name, *pair in zip(names, part.shares, part.counts, strict=True)
    ]
    return "<h3>Error matrix: shares of the area (labels)</h3>" + _render_table(
        ["map \\ reference", *names], rows
    )


def _render_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in header)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<div class='table'>{table}</div>"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body><main>
{body}
</main></body>
</html>
"""

_STYLE = """
body { margin: 0; background: #f4f6f8; color: #1d2733;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 24px 20px; }
section { background: #fff; border: 1px solid #dfe5eb; border-radius: 10px; padding: 18px 26px;
  margin: 20px 0; break-inside: avoid; }
h2 { font-size: 20px; margin: 0 0 8px; } h3 { font-size: 15px; margin: 20px 0 4px; }
figure { margin: 0; } svg { max-width: 760px; width: 100%; font-size: 14px; fill: #1d2733; }
figcaption, .note { color: #5d6b7a; font-size: 14px; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 12px; border-bottom: 1px solid #dfe5eb; text-align: right; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: nowrap; }
"""
