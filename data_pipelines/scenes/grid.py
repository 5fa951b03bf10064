"""The grid of a scene: its files' own, of several that of the sensor, or a resampled one."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.imagery.georeferences import Georeference
from data_pipelines.scenes.raster import SceneRaster, open_any_raster

__all__ = ["Placed", "find_grid"]

# Corners of the files of a scene, in pixels of its grid, differ by less; so do resolutions that are
# the same, as a share.
_TOLERANCE, _SAME = 0.6, 0.01

Grid = tuple[tuple[int, int], Georeference]


class Placed(NamedTuple):
    """A raster of a scene, and what places it."""

    raster: SceneRaster
    georeference: Georeference


def find_grid(
    scene: str,
    parts: Sequence[Placed],
    others: Sequence[str],
    learned: float,
    resolution: float,
) -> Grid:
    """Find the height, width and georeference of a scene.

    Args:
        scene: The scene, for error messages.
        parts: Its rasters.
        others: Files of the scene that aren't read, of which one may have the learned resolution.
        learned: Ground sampling distance of the sensor, in metres; 0 if it has none.
        resolution: That at which the scene is read, in metres; 0 for its own.

    Raises:
        UserError: If the rasters show several places, or their resolution isn't known.
    """
    size, georeference = _choose_grid(parts, others, learned)
    for part in parts:
        _check_place(scene, part, size, georeference)
    if not resolution or _is_of((size, georeference), resolution):
        return size, georeference
    pixel = georeference.measure_pixel(size)
    if not all(pixel):
        raise UserError(
            f"scene {scene}: doesn't say where on the Earth it is, hence not what its resolution "
            f"is; expected a georeference to resample it to {resolution:g} m"
        )
    height, width = (
        max(1, round(side * metres / resolution)) for side, metres in zip(size, pixel, strict=True)
    )
    return (height, width), georeference.resize(size, (height, width))


def _choose_grid(parts: Sequence[Placed], others: Sequence[str], learned: float) -> Grid:
    """Return the grid of the learned resolution, if a file has it, else the finest."""
    grids = [(part.raster.header.size, part.georeference) for part in parts]
    for grid in grids:
        if _is_of(grid, learned):
            return grid
    for path in others if learned else ():
        with open_any_raster(path) as raster:
            grid = raster.shape, Georeference.of(raster)
        if _is_of(grid, learned):
            return grid
    return max(grids, key=lambda grid: grid[0][0] * grid[0][1])


def _is_of(grid: Grid, resolution: float) -> bool:
    size, georeference = grid
    return bool(resolution) and all(
        abs(metres / resolution - 1) < _SAME for metres in georeference.measure_pixel(size)
    )


def _check_place(
    scene: str, part: Placed, size: tuple[int, int], georeference: Georeference
) -> None:
    """Check that a raster covers the grid, as far as it says where it is."""
    own = part.raster.header.size
    if own == size and part.georeference == georeference:
        return
    is_known = part.georeference.transform is not None and georeference.transform is not None
    if is_known and part.georeference.crs == georeference.crs:
        corners = np.array([(0, 0), (1, 0), (0, 1), (1, 1)], float)
        x, y = part.georeference.coordinates(corners[:, 0] * own[1], corners[:, 1] * own[0])
        columns, rows = georeference.pixels(x, y)
        columns, rows = columns - corners[:, 0] * size[1], rows - corners[:, 1] * size[0]
        if max(np.abs(columns).max(), np.abs(rows).max()) <= _TOLERANCE:
            return
    elif own == size and not is_known:
        return
    raise UserError(
        f"scene {scene}: file {part.raster.path} of {own[0]} × {own[1]} pixels covers another "
        f"place than the others, of {size[0]} × {size[1]}; expected files of one image"
    )
