"""A user's own pictures with masks, as windows."""
