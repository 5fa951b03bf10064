"""Tiles of a user's own images.

`geotiff_tiles` has the TFDS builder, `sources` finds the images, `products` those of Sentinel-2 as
ESA ships them, `cutting` cuts them into tiles and divides these by place, and `tiles` reads them.
"""
