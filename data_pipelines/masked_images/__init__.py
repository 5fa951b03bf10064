"""Images with masks: what the builders of segmentation datasets share.

`legends` defines what the pixels of a mask mean (`ColourLegend`, `NumberLegend`), `survey` looks at
some masks before they are read, `blocks` reads an image of any size as blocks (`BlockReader`), and
`dataset` makes the grid of blocks, the reading and
TFDS's description (`make_grid`, `make_reading`, `make_dataset_info`).
"""
