"""Rendering of the report as Markdown, as a self-contained HTML page, and at the terminal."""

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
    """A figure of the report as a PNG.

    Attributes:
        section: Section it belongs to: the name of a table, `pretraining` or `transfer`.
        name: Name of its file, without `.png`.
        caption: Caption.
        png: Content of the file.
    """

    section: str
    name: str
    caption: str
    png: bytes


Section = tuple[str, Sequence[str | TextTable | RenderedFigure]]  # a heading, and the content


def render_terminal_table(table: TextTable) -> rich.table.Table:
    """Render a table for printing by `rich`."""
    rendered = rich.table.Table(
        title=table.title, caption="\n".join(table.notes), caption_justify="left"
    )
    for number, heading in enumerate(table.header):
        rendered.add_column(heading, justify="right" if number else "left", overflow="fold")
    for number, row in enumerate(table.rows):
        first_baseline = table.groups and table.groups[number] and not table.groups[number - 1]
        if number and first_baseline:
            rendered.add_section()
        cells = [Text(c, "bold" if (number, i) in table.bold else "") for i, c in enumerate(row)]
        for cell, small in zip(cells, _get_small_print(table, number), strict=True):
            cell.append(f"\n{small}" if small else "", "not bold dim")
        rendered.add_row(*cells)
    return rendered


def _get_small_print(table: TextTable, row: int) -> tuple[str, ...]:
    return table.below[row] if table.below else ("",) * len(table.header)


def render_markdown(title: str, sections: Sequence[Section], figure_folder: str) -> str:
    """Render the report as Markdown.

    Args:
        title: Title of the report.
        sections: The sections.
        figure_folder: Folder of the figures' files, relative to the Markdown file.
    """
    lines = [f"# {title}", ""]
    for heading, content in sections:
        lines += [f"## {heading}", ""]
        for item in content:
            match item:
                case str():
                    lines += [item, ""]
                case TextTable():
                    lines += _render_markdown_table(item)
                case RenderedFigure():
                    path = f"{figure_folder}/{item.name}.png"
                    lines += [f"![{item.caption}]({path})", "", f"*{item.caption}.*", ""]
    return "\n".join(lines)


def _render_markdown_table(table: TextTable) -> list[str]:
    rule = ["---", *["---:"] * (len(table.header) - 1)]
    rows = [
        [
            (f"**{c}**" if (n, i) in table.bold else c.replace("*", r"\*"))
            + (f"<br><sub>{small}</sub>" if small else "")
            for i, (c, small) in enumerate(zip(row, _get_small_print(table, n), strict=True))
        ]
        for n, row in enumerate(table.rows)
    ]
    lines = ["| " + " | ".join(cells) + " |" for cells in [list(table.header), rule, *rows]]
    notes = [line for note in table.notes for line in (note.replace("*", r"\*"), "")]
    return [f"**{table.title}**", "", *lines, "", *notes]


def render_html(title: str, sections: Sequence[Section]) -> str:
    """Render the report as an HTML page that needs no other file: figures are embedded as base64.

    Args:
        title: Title of the report.
        sections: The sections.
    """
    links = "".join(f'<a href="#{_make_anchor(h)}">{escape(h)}</a>' for h, _ in sections)
    body = []
    for heading, content in sections:
        body.append(f'<section id="{_make_anchor(heading)}"><h2>{escape(heading)}</h2>')
        for item in content:
            match item:
                case str():
                    body.append(f"<p>{escape(item)}</p>")
                case TextTable():
                    body.append(_render_html_table(item))
                case RenderedFigure():
                    data, caption = base64.b64encode(item.png).decode(), escape(item.caption)
                    body.append(
                        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
                        f"<figcaption>{caption}</figcaption></figure>"
                    )
        body.append("</section>")
    return _PAGE.format(title=escape(title), style=_STYLE, links=links, body="\n".join(body))


def _render_html_table(table: TextTable) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in table.header)
    rows = []
    for number, row in enumerate(table.rows):
        row_class = ' class="baseline"' if table.groups and table.groups[number] else ""
        cells = "".join(
            ('<td class="bold">' if (number, i) in table.bold else "<td>")
            + escape(c)
            + (f"<small>{escape(small)}</small>" if small else "")
            + "</td>"
            for i, (c, small) in enumerate(zip(row, _get_small_print(table, number), strict=True))
        )
        rows.append(f"<tr{row_class}>{cells}</tr>")
    notes = "".join(f"<p>{escape(note)}</p>" for note in table.notes)
    element = (
        f"<table><caption>{escape(table.title)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
    return f'<div class="table">{element}</div><div class="notes">{notes}</div>'


def _make_anchor(heading: str) -> str:
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
.table { overflow-x: auto; margin: 18px 0 0; }
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
