"""The compiled programs of a sweep. All are of one device, and have no collectives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh, NamedSharding

from ssl_jax.devices.mesh import REPLICATED, SHARDED, pmap_over_mesh
from ssl_jax.scenes.commands import CLEAR, KEEP
from ssl_jax.scenes.sweep_plan import SweepPlan, compute_weights

__all__ = ["Finish", "Logits", "Programs", "Sums", "make_network", "make_programs"]

# Axes of images (..., h, w, c) to flip: the four symmetries of a rectangle.
_FLIPS = ((), (-2,), (-3,), (-3, -2))

# On a CPU windows go through the network one after the other, but no fewer pixels at a time:
# measured on two cores, more take more memory and up to 1.4 times as long (three convolutions,
# windows of 256 pixels), fewer 1.6 times (UperNet on ResNet-50, windows of 64 pixels).
_CPU_PIXELS = 2**14

# (variables, images (B, H, W, C) in digital numbers) -> logits (B, H, W, K) float32
Logits = Callable[[Any, Array], Array]
# (logits (rows, columns, K) float32, pixels {name: (rows, columns, ...)})
# -> (pytree of arrays (rows, columns, ...), pytree of sums)
Finish = Callable[[Array, Mapping[str, Array]], tuple[Any, Any]]


class Sums(NamedTuple):
    """Sums over windows, of each device.

    Attributes:
        logits: Of the weighted logits, (devices, rows, columns * K) float32.
        weights: Of the weights, (devices, rows, columns) float32.
    """

    logits: Array
    weights: Array


@dataclass(frozen=True)
class Programs:
    """The programs of a plan. All arrays are sharded over the devices by their first axis.

    Attributes:
        clear_sums: () -> sums of nothing.
        make_strip: rows that will enter it -> empty strip.
        move_strip: (strip, rows that enter it, active) -> strip.
        cut_windows: (strip, places) -> images (windows, h, w, C).
        add: (sums, logits, places) -> sums.
        move_sums: (sums, moves) -> sums.
        finish: (sums, computed, bounds, pixels), see `BlockArrays` -> arrays, sums.
    """

    clear_sums: Callable[[], Sums]
    make_strip: Callable[..., Array]
    move_strip: Callable[..., Array]
    cut_windows: Callable[..., Array]
    add: Callable[..., Sums]
    move_sums: Callable[..., Sums]
    finish: Callable[..., Any]


def make_programs(plan: SweepPlan, finish: Finish, mesh: Mesh) -> Programs:
    """Make the programs of a plan, which are compiled when they are first called.

    Args:
        plan: The plan.
        finish: Makes the results of a block from its logits, see `make_sweep`.
        mesh: The devices of this process.
    """
    sharding = NamedSharding(mesh, SHARDED)

    def clear_sums() -> Sums:
        def make_zeros(width: int) -> Array:
            return jnp.zeros((mesh.size, plan.sums_height, width), device=sharding)

        return Sums(make_zeros(plan.sums_width * plan.outputs), make_zeros(plan.sums_width))

    def make_strip(rows: Array) -> Array:
        shape = (mesh.size, plan.strip_segments * rows.shape[1], *rows.shape[2:])
        return jnp.zeros(shape, rows.dtype, device=sharding)

    def make(function: Callable[..., Any], arguments: int, donate: tuple[int, ...] = ()) -> Any:
        return pmap_over_mesh(function, mesh, (SHARDED,) * arguments, SHARDED, donate)

    return Programs(
        clear_sums=clear_sums,
        make_strip=make_strip,
        move_strip=make(_move_strip, 3, donate=(0,)),
        cut_windows=make(partial(_cut_windows, plan.window), 2),
        add=make(partial(_add, plan), 3, donate=(0,)),
        move_sums=make(partial(_move_sums, plan), 2, donate=(0,)),
        finish=make(partial(_finish, plan, finish), 4),
    )


def make_network(logits: Logits, mesh: Mesh, flips: bool) -> Callable[[Any, Array, Array], Array]:
    """Make the program of the network, which is compiled for each shape of images.

    Args:
        logits: Function `(variables, images (B, h, w, C)) -> logits (B, h, w, K)`.
        mesh: The devices of this process.
        flips: Whether to average over flips.

    Returns:
        A function (variables, images (B, h, w, C), places) -> logits (B, h, w, K). Variables are
        replicated, all else is sharded. Logits of windows that are not there are arbitrary.
    """
    compute = partial(_average_over_flips, logits, _FLIPS if flips else _FLIPS[:1])
    if mesh.devices.flat[0].platform == "cpu":
        compute = partial(_compute_in_turn, compute)
    else:
        compute = partial(_compute_together, compute)
    return pmap_over_mesh(compute, mesh, (REPLICATED, SHARDED, SHARDED), SHARDED)


def _average_over_flips(
    logits: Logits, flips: tuple[tuple[int, ...], ...], variables: Any, images: Array
) -> Array:
    if len(flips) == 1:
        return logits(variables, images)
    views = jnp.stack([jnp.flip(images, axes) for axes in flips])
    outputs = jax.lax.map(partial(logits, variables), views)
    unflipped = [jnp.flip(view, axes) for view, axes in zip(outputs, flips, strict=True)]
    return jnp.mean(jnp.stack(unflipped), axis=0)


def _compute_together(compute: Logits, variables: Any, images: Array, places: Array) -> Array:
    return compute(variables, images)


def _compute_in_turn(compute: Logits, variables: Any, images: Array, places: Array) -> Array:
    """Compute a part of the windows at a time, unless there are none in it."""
    count, height, width, bands = images.shape
    size = min(count, max(1, _CPU_PIXELS // (height * width)))
    padding = -count % size
    images = jnp.pad(images, ((0, padding), (0, 0), (0, 0), (0, 0)))
    images = images.reshape(-1, size, height, width, bands)
    is_there = jnp.pad(places[0, :, 3], (0, padding)).reshape(-1, size).any(axis=1)
    result = jax.eval_shape(compute, variables, images[0])

    def compute_part(part: tuple[Array, Array]) -> Array:
        images, is_there = part

        def skip(images: Array) -> Array:
            zeros = jnp.zeros(result.shape, result.dtype)
            return jax.lax.pcast(zeros, "data", to="varying")

        return jax.lax.cond(is_there, partial(compute, variables), skip, images)

    parts = jax.lax.map(compute_part, (images, is_there))
    return parts.reshape(-1, *parts.shape[2:])[:count]


def _move_strip(strip: Array, rows: Array, active: Array) -> Array:
    """Move a strip (1, height, width, C) down by the rows (1, rows, width, C) that enter it."""
    moved = jnp.concatenate([strip[:, rows.shape[1] :], rows], axis=1)
    return jnp.where(active[0], moved, strip)


def _cut_windows(side: int, strip: Array, places: Array) -> Array:
    """Cut windows (B, side, side, C) out of a strip (1, height, width, C), at places (1, B, 4)."""

    def cut(place: Array) -> Array:
        shape = (side, side, strip.shape[-1])
        return jax.lax.dynamic_slice(strip[0], (place[0], place[2], 0), shape)

    return jax.vmap(cut)(places[0])


def _add(plan: SweepPlan, sums: Sums, logits: Array, places: Array) -> Sums:
    """Add the weighted logits (B, side, side, K) of windows at places (1, B, 4)."""
    side, outputs = plan.window, plan.outputs
    profile = jnp.asarray(compute_weights(side))
    weights = jnp.outer(profile, profile)
    weights_of_outputs = jnp.outer(profile, profile.repeat(outputs))
    flat = logits.reshape(-1, side, side * outputs)

    def add(array: Array, start: tuple[Array, Array], values: Array) -> Array:
        before = jax.lax.dynamic_slice(array, start, values.shape)
        return jax.lax.dynamic_update_slice(array, before + values, start)

    def add_window(index: Array, sums: Sums) -> Sums:
        _, top, left, is_there = places[0, index]
        weighted = jnp.where(is_there, flat[index] * weights_of_outputs, 0)
        return Sums(
            add(sums.logits, (top, left * outputs), weighted),
            add(sums.weights, (top, left), jnp.where(is_there, weights, 0)),
        )

    first = jax.tree.map(lambda x: x[0], sums)
    return jax.tree.map(lambda x: x[None], jax.lax.fori_loop(0, len(flat), add_window, first))


def _move_sums(plan: SweepPlan, sums: Sums, moves: Array) -> Sums:
    """Move sums up by the pixels of a block; or keep them, or clear them."""
    keep, clear = moves[0] == KEEP, moves[0] == CLEAR
    count, rows = plan.block_rows * plan.stride, plan.stride
    overlap = plan.window - plan.stride  # at most `count`, so that they can be moved in place

    def move(array: Array) -> Array:
        below = jnp.where(clear, 0, array[0, count : count + overlap])
        array = array.at[0, :overlap].set(jnp.where(keep, array[0, :overlap], below))

        def clear_rows(index: Array, array: Array) -> Array:
            start = (0, overlap + index * rows, 0)
            before = jax.lax.dynamic_slice(array, start, (1, rows, array.shape[2]))
            return jax.lax.dynamic_update_slice(array, jnp.where(keep, before, 0), start)

        # A few at a time: all of them together would need as much memory again.
        return jax.lax.fori_loop(0, -(-(array.shape[1] - overlap) // rows), clear_rows, array)

    return jax.tree.map(move, sums)


def _finish(
    plan: SweepPlan,
    finish: Finish,
    sums: Sums,
    computed: Array,
    bounds: Array,
    pixels: Mapping[str, Array],
) -> tuple[Any, Any]:
    """Compute the arrays (1, *plan.block_shape, ...) and the sums (1, ...) of a block."""

    def finish_part(start: Array) -> tuple[Any, Any]:
        return finish(*_cut_part(plan, sums, computed[0], bounds[0], pixels, start))

    def step(total: Any, start: Array) -> tuple[Any, Any]:
        arrays, counts = finish_part(start)
        return jax.tree.map(jnp.add, total, counts), arrays

    def make_zeros(like: jax.ShapeDtypeStruct) -> Array:
        return jax.lax.pcast(jnp.zeros(like.shape, like.dtype), "data", to="varying")

    starts = jnp.arange(0, plan.block_shape[0], plan.finish_rows)
    nothing = jax.tree.map(make_zeros, jax.eval_shape(finish_part, starts[0])[1])
    total, arrays = jax.lax.scan(step, nothing, starts)
    arrays = jax.tree.map(lambda x: x.reshape(1, -1, *x.shape[2:]), arrays)
    return arrays, jax.tree.map(lambda x: x[None], total)


def _cut_part(
    plan: SweepPlan,
    sums: Sums,
    computed: Array,
    bounds: Array,
    pixels: Mapping[str, Array],
    start: Array,
) -> tuple[Array, dict[str, Array]]:
    """Return the logits (plan.finish_rows, width, K) and pixels of a block from a row on."""
    height, width = plan.finish_rows, plan.block_shape[1]
    left = plan.lead * plan.stride

    def cut(array: Array, left: int, width: int) -> Array:
        origin: Any = (start, left, *[0] * (array.ndim - 2))
        return jax.lax.dynamic_slice(array, origin, (height, width, *array.shape[2:]))

    weights = cut(sums.weights[0], left, width)
    weighted = cut(sums.logits[0], left * plan.outputs, width * plan.outputs)
    logits = weighted.reshape(height, width, plan.outputs)
    logits = logits / jnp.where(weights > 0, weights, 1)[..., None]
    rows, columns = start + jnp.arange(height), jnp.arange(width)
    top, bottom, first, last = bounds
    is_computed = computed[rows // plan.stride].repeat(plan.stride, axis=1)[:, :width]
    is_computed &= ((rows >= top) & (rows < bottom))[:, None]
    is_computed &= (columns >= first) & (columns < last)
    parts = {name: cut(array[0], 0, width) for name, array in pixels.items()}
    return logits, {**parts, "computed": is_computed}
