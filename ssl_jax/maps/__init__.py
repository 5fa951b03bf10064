"""Maps: finished blocks of a scene's results, and the georeferenced files that are made of them.

`layers` says what each file holds (`Layer`), `colours` gives classes colours, `blocks` stores
finished blocks, `mosaic` makes Cloud Optimized GeoTIFFs of them. `areas` measures pixels on the
ellipsoid in any coordinate reference system (`PixelAreas`), `tables` writes the areas of classes,
and `quicklook` draws a map with its legend. Nothing here imports JAX.
"""
