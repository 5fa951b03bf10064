"""Prediction: maps of whole scenes from a checkpoint alone.

`model` opens a checkpoint (`open_map_model`), `scene` maps a scene with it (`make_scene_mapper`),
and `record` keeps an output folder to one map, so that the same command goes on with it.
"""

from ssl_jax.prediction.model import MapModel, open_map_model
from ssl_jax.prediction.scene import SceneMap, make_scene_mapper

__all__ = ["MapModel", "SceneMap", "make_scene_mapper", "open_map_model"]
