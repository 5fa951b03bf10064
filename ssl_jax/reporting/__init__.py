"""From the folders of a study's runs to tables, figures and pages.

`study_results` reads what the runs wrote, `estimates` makes means and differences with intervals
of it,
`tables` and `conclusions` say what they come to, `text_table` are tables of text; `figures` has all
pictures, from `charts`, `image_grids` and `report_figure`; `page` sets them, and `report` writes
it all
(`write`).
"""
