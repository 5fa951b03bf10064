"""From the folders of a study's runs to tables, figures and pages.

`records` reads what the runs wrote, `estimates` makes means and differences with intervals of it,
`tables` and `answers` say what they come to, `grids` are tables of text; `figures` has all
pictures, from `charts`, `sheets` and `drawing`; `page` sets them, and `report` writes it all
(`write`).
"""
