"""Grids and pictures set as Markdown, as one self-contained HTML page, and at the terminal."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import rich.table
from rich.text import Text

from ssl_jax.reporting.text_table import TextTable

__all__ = ["RenderedFigure", "Section", "render_html", "render_markdown", "render_terminal_table"]


@dataclass(frozen=True)
class RenderedFigure:
    """A figure of the report.

    Attributes:
        section: the name of the table it belongs to, or another part of the report.
        name: of its file.
        caption: what it shows.
        png: the file.
    """

    section: str
    name: str
    caption: str
    png: bytes


Section = tuple[
    str, Sequence[str | TextTable | RenderedFigure]
]  # a heading, and what stands under it


def render_terminal_table(grid: TextTable) -> rich.table.Table:
    """A grid for `rich` to print."""
    table = rich.table.Table(
        title=grid.title, caption="\n".join(grid.notes), caption_justify="left"
    )
    for number, heading in enumerate(grid.header):
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    for number, row in enumerate(grid.rows):
        first_baseline = grid.groups and grid.groups[number] and not grid.groups[number - 1]
        if number and first_baseline:
            table.add_section()
        cells = [Text(c, "bold" if (number, i) in grid.bold else "") for i, c in enumerate(row)]
        for cell, small in zip(cells, _below(grid, number), strict=True):
            cell.append(f"\n{small}" if small else "", "not bold dim")
        table.add_row(*cells)
    return table


def _below(grid: TextTable, row: int) -> tuple[str, ...]:
    return grid.below[row] if grid.below else ("",) * len(grid.header)


def render_markdown(title: str, sections: Sequence[Section], figures: str) -> str:
    """The report as Markdown, with its pictures in the folder `figures` beside it."""
    lines = [f"# {title}", ""]
    for heading, parts in sections:
        lines += [f"## {heading}", ""]
        for part in parts:
            match part:
                case str():
                    lines += [part, ""]
                case TextTable():
                    lines += _markdown_grid(part)
                case RenderedFigure():
                    path = f"{figures}/{part.name}.png"
                    lines += [f"![{part.caption}]({path})", "", f"*{part.caption}.*", ""]
    return "\n".join(lines)


def _markdown_grid(grid: TextTable) -> list[str]:
    rule = ["---", *["---:"] * (len(grid.header) - 1)]
    rows = [
        [
            (f"**{c}**" if (n, i) in grid.bold else c.replace("*", r"\*"))
            + (f"<br><sub>{small}</sub>" if small else "")
            for i, (c, small) in enumerate(zip(row, _below(grid, n), strict=True))
        ]
        for n, row in enumerate(grid.rows)
    ]
    table = ["| " + " | ".join(cells) + " |" for cells in [list(grid.header), rule, *rows]]
    notes = [line for note in grid.notes for line in (note.replace("*", r"\*"), "")]
    return [f"**{grid.title}**", "", *table, "", *notes]


def render_html(title: str, sections: Sequence[Section]) -> str:
    """The report as a page that needs no other file: its pictures stand in it as base64."""
    links = "".join(f'<a href="#{_anchor(h)}">{escape(h)}</a>' for h, _ in sections)
    body = []
    for heading, parts in sections:
        body.append(f'<section id="{_anchor(heading)}"><h2>{escape(heading)}</h2>')
        for part in parts:
            match part:
                case str():
                    body.append(f"<p>{escape(part)}</p>")
                case TextTable():
                    body.append(_html_grid(part))
                case RenderedFigure():
                    data, caption = base64.b64encode(part.png).decode(), escape(part.caption)
                    body.append(
                        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
                        f"<figcaption>{caption}</figcaption></figure>"
                    )
        body.append("</section>")
    return _PAGE.format(title=escape(title), style=_STYLE, links=links, body="\n".join(body))


def _html_grid(grid: TextTable) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in grid.header)
    rows = []
    for number, row in enumerate(grid.rows):
        kind = ' class="baseline"' if grid.groups and grid.groups[number] else ""
        cells = "".join(
            ('<td class="bold">' if (number, i) in grid.bold else "<td>")
            + escape(c)
            + (f"<small>{escape(small)}</small>" if small else "")
            + "</td>"
            for i, (c, small) in enumerate(zip(row, _below(grid, number), strict=True))
        )
        rows.append(f"<tr{kind}>{cells}</tr>")
    notes = "".join(f"<p>{escape(note)}</p>" for note in grid.notes)
    table = (
        f"<table><caption>{escape(grid.title)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
    return f'<div class="grid">{table}</div><div class="notes">{notes}</div>'


def _anchor(heading: str) -> str:
    return "-".join(heading.lower().split())


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1><nav>{links}</nav></header>
<main>
{body}
</main>
</body>
</html>
"""

_STYLE = """
:root { color-scheme: light; --ink: #1d2733; --soft: #5d6b7a; --line: #dfe5eb; --accent: #2f6690; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f6f8; color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
header, main { max-width: 1120px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 36px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 10px; letter-spacing: -0.01em; }
h2 { font-size: 20px; margin: 0 0 14px; }
nav a { display: inline-block; margin: 0 18px 4px 0; color: var(--accent); text-decoration: none; }
nav a:hover { text-decoration: underline; }
section { background: #fff; border: 1px solid var(--line); border-radius: 10px;
  padding: 22px 26px; margin: 20px 0; }
section:first-of-type p { font-size: 18px; margin: 0 0 10px; }
.grid { overflow-x: auto; margin: 18px 0 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums;
  font-size: 15px; }
caption { text-align: left; font-weight: 600; padding-bottom: 8px; }
th, td { padding: 7px 12px; border-bottom: 1px solid var(--line); text-align: right; }
th { color: var(--soft); font-weight: 600; border-bottom: 2px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: nowrap; }
tr.baseline td { color: var(--soft); }
tr:not(.baseline) + tr.baseline td { border-top: 2px solid var(--line); }
td.bold { font-weight: 700; color: var(--accent); }
td small { display: block; font-weight: 400; font-size: 12px; line-height: 1.3;
  color: var(--soft); white-space: nowrap; }
.notes p { margin: 8px 0 0; color: var(--soft); font-size: 14px; }
figure { margin: 22px 0 8px; }
img { max-width: 100%; height: auto; display: block; }
figcaption { color: var(--soft); font-size: 14px; margin-top: 8px; }
@media print { body { background: #fff; } section { border: 0; padding: 0; break-inside: avoid; } }
"""
