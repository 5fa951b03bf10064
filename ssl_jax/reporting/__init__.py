"""Reports of studies: from the folders of the runs to tables, figures and pages.

`study_results` reads the results of the runs, and `estimates` computes mean scores, differences and
their intervals. `tables` and `conclusions` present them as tables (of type `text_table`) and as
sentences, and `figures` draws all figures with `charts` and `image_grids` (of type
`report_figure`). `page` renders both as Markdown and HTML, and `report` writes the files
(`write_report`).
"""
