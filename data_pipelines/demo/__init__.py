"""Procedural datasets: land cover is drawn first, then what a sensor would see of it.

They stand in for archives that are too large to come with the code. `geometry` draws, `landcover`
and `town` say what lies where, `spectra` says how it looks from above, and the builders hand it to
TFDS. Example i of a split is a function of the config's seed, the split and i alone.

The builders: `tiles`, `scenes`, `aerial`, `objects`.
"""
