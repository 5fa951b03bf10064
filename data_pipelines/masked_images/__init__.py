"""Images with masks of classes: what the builders of segmentation datasets share.

`legends` says what a mask's pixels mean (`ColourLegend`, `NumberLegend`), `blocks` reads an image
of
any size as blocks (`BlockReader`), `dataset` has the grid and TFDS's description (`make_reading`,
`make_dataset_info`).
"""
