"""EuroSAT: 27,000 Sentinel-2 images with ten land use classes."""
