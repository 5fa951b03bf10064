"""Images with masks of classes: what the builders of segmentation datasets share.

`legends` says what a mask's pixels mean (`ColourLegend`, `NumberLegend`), `cells` reads an image of
any size as cells (`CellReader`), `dataset` has the grid and TFDS's description (`reading`,
`dataset_info`).
"""
