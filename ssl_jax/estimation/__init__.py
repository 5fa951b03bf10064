"""Estimation of areas: what a map's classes really cover, with intervals, from labelled places.

`estimators` has the estimators of shares, ratios and differences from stratified samples, as
functions of arrays; `assessment` makes error matrices, accuracies and areas of them. `classified`
reads classified rasters some rows at a time, `regions` numbers their pixels by region, and
`sampling` allocates and draws places. `planning`, `estimating` and `comparing` are what the command
`ssl_jax.areas` does; `files` reads and writes. Nothing here imports JAX.
"""
