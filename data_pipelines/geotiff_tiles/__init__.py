"""Tiles of a user's own GeoTIFFs."""
