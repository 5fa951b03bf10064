"""Tables of text, independent of how they are rendered."""

from dataclasses import dataclass

__all__ = ["MISSING", "TextTable"]

MISSING = "–"


@dataclass(frozen=True)
class TextTable:
    """A table of text, to be rendered as Markdown, as HTML or at the terminal.

    Attributes:
        title: Title, printed above the table.
        header: Heading of each column; the first column contains the row titles.
        rows: The text of each cell, by row.
        groups: Whether each row is a baseline; baselines are separated from the rows above. Empty
            if there are none.
        below: Small print below the text of each cell, by row; empty if there is none.
        bold: (row, column) of each cell in bold.
        notes: Notes, printed below the table.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    groups: tuple[bool, ...] = ()
    below: tuple[tuple[str, ...], ...] = ()
    bold: frozenset[tuple[int, int]] = frozenset()
    notes: tuple[str, ...] = ()
