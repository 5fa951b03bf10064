"""The map of a scene: classes and confidence of every pixel, and the area of each class."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from data_pipelines.errors import UserError
from data_pipelines.preparing.progress import ProgressCounter
from data_pipelines.profiles.findings import Remedies
from data_pipelines.profiles.observation import observe
from data_pipelines.scenes import Scene
from ssl_jax import scenes
from ssl_jax.checkpoints.card import package_versions
from ssl_jax.checkpoints.inputs import check_images
from ssl_jax.devices.mesh import make_data_mesh
from ssl_jax.maps.blocks import Block, find_complete_blocks, write_block
from ssl_jax.maps.layers import CONFIDENCE, NODATA, Layer, make_class_layer
from ssl_jax.maps.mosaic import assemble_layer
from ssl_jax.maps.quicklook import write_quicklook
from ssl_jax.maps.tables import MapAreas, measure_classes, write_areas
from ssl_jax.prediction.model import MapModel
from ssl_jax.prediction.record import begin_record, finish_record
from ssl_jax.scenes import Sweep, SweepPlan, Task, make_sweep

__all__ = ["SceneMap", "SceneMapper", "make_scene_mapper"]

_REMEDIES = Remedies("--scale {}", "--offset {}", "--bands {}", "--accept {}")
_BLOCKS = ".blocks"
_LAYERS = ("classes", CONFIDENCE.name)


@dataclass(frozen=True)
class SceneMap:
    """A complete map.

    Attributes:
        folder: Its folder, with `classes.tif`, `confidence.tif`, `areas.csv`, `areas.json`,
            `quicklook.png` and `map.json`.
        areas: The areas of its classes.
        seconds: Seconds that it took; 0 if it was there already.
    """

    folder: Path
    areas: MapAreas
    seconds: float


# (scene, folder) -> its map, see `make_scene_mapper`
SceneMapper = Callable[[Scene, Path], SceneMap]


def make_scene_mapper(model: MapModel, accept: Sequence[str] = ()) -> SceneMapper:
    """Make a function that maps scenes, for which the network is compiled once.

    The files of a map depend on the scene, the checkpoint and the sliding window alone: neither on
    the number of devices nor on how often the command was interrupted.

    Args:
        model: The network.
        accept: Names of checks of the images to pass over.

    Returns:
        A function of a scene and the folder for its map, which goes on with an unfinished map
        there. It raises a `UserError` if the folder holds another map, the images are not like
        those that the network learned, no pixel has data, or the disk is full.
    """
    sweep = make_sweep(
        model.objective.logits, _make_finish(model), make_data_mesh(), model.sliding.flips
    )
    layers = (make_class_layer(model.card.classes, model.card.colours), CONFIDENCE)

    def make_map(scene: Scene, folder: Path) -> SceneMap:
        accepted = _check_images(scene, model, accept)
        request = _describe_request(scene, model)
        if begin_record(folder, request) is not None:
            return SceneMap(folder, measure_classes(folder / "classes.tif", model.card.classes), 0)
        began = time.monotonic()
        plan = _make_plan(scene, model)
        _compute_blocks(sweep, model.variables, scene, plan, folder / _BLOCKS)
        areas = _write_files(folder, layers, scene, plan, model)
        seconds = time.monotonic() - began
        results = {
            "seconds": seconds,
            "versions": package_versions(),
            "devices": f"{len(jax.local_devices())} × {jax.local_devices()[0].device_kind}",
            **({"accepted": accepted} if accepted else {}),
        }
        finish_record(folder, request, results)
        shutil.rmtree(folder / _BLOCKS)
        return SceneMap(folder, areas, seconds)

    return make_map


def _make_finish(model: MapModel) -> Callable[..., Any]:
    """Return the function of logits (rows, columns, K) that makes the layers of a block."""
    labels = np.asarray(model.objective.kept, np.uint8)

    def finish(logits: Array, pixels: Mapping[str, Array]) -> tuple[dict[str, Array], None]:
        has_data = pixels["computed"] & pixels["has_data"]
        confidence = jnp.round(100 * jax.nn.softmax(logits).max(axis=-1)).astype(jnp.uint8)
        classes = jnp.asarray(labels)[jnp.argmax(logits, axis=-1)]
        layers = dict(zip(_LAYERS, (classes, confidence), strict=True))
        return {k: jnp.where(has_data, x, np.uint8(NODATA)) for k, x in layers.items()}, None

    return finish


def _check_images(scene: Scene, model: MapModel, accept: Sequence[str]) -> list[str]:
    """Compare a sample of the scene with what the network learned.

    Returns:
        The names of the checks that found something and were passed over.

    Raises:
        UserError: If the pixels are not like the learned ones.
    """
    sample = scene.sample_pixels()
    if not sample:
        return []
    subject = f"scene {scene.name}"
    return check_images(observe(sample), scene.resolution, model.card, subject, _REMEDIES, accept)


def _describe_request(scene: Scene, model: MapModel) -> dict[str, Any]:
    """Return what determines a map, as JSON types."""
    return {
        "scene": scene.identity,
        "checkpoint": model.digest,
        "sliding window": asdict(model.sliding),
        "precision": model.card.config.precision,
    }


def _make_plan(scene: Scene, model: MapModel) -> SweepPlan:
    return SweepPlan.for_image(*scene.size, model.sliding, len(model.objective.kept))


def _compute_blocks(
    sweep: Sweep, variables: Any, scene: Scene, plan: SweepPlan, folder: Path
) -> None:
    """Compute the blocks of a map that are not in `folder` yet, and write them there."""
    complete = find_complete_blocks(folder, _LAYERS)
    tasks = [Task(scene, block) for block in plan.blocks if _place(block) not in complete]
    total = sum(task.block.height * task.block.width for task in tasks)
    with ProgressCounter(scene.name, total, "pixels") as counter:
        for finished in sweep(variables, plan, tasks):
            block = _place(tasks[finished.position].block)
            nodata = np.full((block.height, block.width), NODATA, np.uint8)
            write_block(folder, block, finished.arrays or dict.fromkeys(_LAYERS, nodata))
            counter.advance(nodata.size)


def _place(block: scenes.Block) -> Block:
    return Block(block.top, block.left, block.height, block.width)


def _write_files(
    folder: Path, layers: Sequence[Layer], scene: Scene, plan: SweepPlan, model: MapModel
) -> MapAreas:
    """Write the files of a map from its blocks, and return the areas of its classes.

    Raises:
        UserError: If no pixel has data, in which case nothing is left.
    """
    tags = {"SCENE": scene.name, "CHECKPOINT": model.digest}
    blocks = [_place(block) for block in plan.blocks]
    for layer in layers:
        target = folder / f"{layer.name}.tif"
        assemble_layer(
            folder / _BLOCKS, layer, blocks, scene.size, scene.georeference, target, tags
        )
    areas = measure_classes(folder / "classes.tif", model.card.classes)
    if not any(area.pixels for area in areas.classes):
        shutil.rmtree(folder)
        raise UserError(
            f"scene {scene.name}: none of its {scene.height} × {scene.width} pixels has data; "
            "expected some: check --nodata, and the mask or transparency of the file"
        )
    write_areas(folder, areas)
    write_quicklook(folder / "quicklook.png", folder / "classes.tif", layers[0], areas, scene.name)
    return areas
