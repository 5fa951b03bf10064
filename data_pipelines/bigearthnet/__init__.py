"""BigEarthNet, versions 1 (590,326 patches) and 2 (549,488): multi-label Sentinel-2 patches.

`bigearthnet` has the TFDS builder, `patches` reads single patches, `lists` reads the official
splits and the lists of snowy and cloudy patches, and `nomenclature` has the label names.
"""
