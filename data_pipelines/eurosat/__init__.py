"""EuroSAT: 27,000 Sentinel-2 images of ten classes of land use."""
