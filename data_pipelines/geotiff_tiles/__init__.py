"""Tiles of a user's own images.

`geotiff_tiles` has the TFDS builder, `sources` finds the images, `cutting` cuts them into tiles and
divides these by place, and `tiles` reads them.
"""
