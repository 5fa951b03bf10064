"""Procedural (synthetic) datasets, for demonstrations and tests without downloads.

The satellite and aerial images are rendered in two steps: a map of the land cover, then the image
that a sensor would take of it. `geometry` has random fields and curves, `landcover` and `town` draw
maps of land cover, and `spectra` renders them. Example i of a split is a function of the config's
seed, the split and i only.

The builders: `tiles`, `scenes`, `aerial`, `objects`.
"""
