"""A table of text, however it is set."""

from dataclasses import dataclass

__all__ = ["MISSING", "TextTable"]

MISSING = "–"


@dataclass(frozen=True)
class TextTable:
    """A table of text, ready to be set in Markdown, HTML or at the terminal.

    Attributes:
        title: what it shows.
        header: a heading for each column; the first names the rows.
        rows: a text for each column.
        groups: by row, whether it belongs to the baselines and is set apart.
        below: what stands in small print below each text; empty for nothing.
        bold: by row and column, what stands out.
        notes: what stands below the table.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    groups: tuple[bool, ...] = ()
    below: tuple[tuple[str, ...], ...] = ()
    bold: frozenset[tuple[int, int]] = frozenset()
    notes: tuple[str, ...] = ()
