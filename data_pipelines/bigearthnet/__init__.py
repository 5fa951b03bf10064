"""BigEarthNet, version 1 (590,326 patches) and 2 (549,488): Sentinel-2 patches with labels.

`patches` reads one patch, `lists` the official splits and lists of snow and clouds, `nomenclature`
has the labels.
"""
