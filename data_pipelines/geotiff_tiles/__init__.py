"""A user's own GeoTIFFs, cut into tiles."""
