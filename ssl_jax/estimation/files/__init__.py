"""Files of the estimation of areas.

`sample` has planned places and their strata, with `geopackage` for QGIS and `pictures` of the
places; `labels` reads the references that were filled in. `results` writes JSON and CSV, and `page`
renders the page with the tables and the picture.
"""
