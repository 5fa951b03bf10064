"""BigEarthNet, version 1 (590,326 patches) and 2 (549,488): Sentinel-2 patches with labels."""
