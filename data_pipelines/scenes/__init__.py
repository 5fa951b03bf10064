"""Scenes: a user's images of any size, of which any window can be read as a network expects it.

`opening` opens a scene (`open_scene`), whose files `files` finds and whose bands `bands` finds by
name. `scene` is what is opened (`Scene`), of one or more rasters (`raster`), which `resampling`
brings to the scene's `grid`; `sampling` says where a few pixels tell what it is like.
"""

from data_pipelines.scenes.opening import open_scene
from data_pipelines.scenes.scene import Scene

__all__ = ["Scene", "open_scene"]
