"""Logits of whole pictures: a window slides over them, and what it sees twice is averaged.

Windows of all pictures are batched over all devices; their logits come back to the host and are
added up there a band of rows at a time. So neither the memory of the devices nor that of the host
meets the size of a picture.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import Mesh

from data_pipelines.sources.loader import evaluation_batches
from ssl_jax.devices.mesh import REPLICATED, SHARDED, pmap_over_mesh
from ssl_jax.scenes.windows import Window, make_windows
from ssl_jax.training.loop import prefetch_to_devices
from ssl_jax.training.shutdown import ShutdownSignal, Stopped

__all__ = [
    "LargeImage",
    "Logits",
    "RowBlock",
    "SlidingWindow",
    "compute_sliding_logits",
    "make_window_step",
]

# Axes of an image (h, w, c) that are flipped: the symmetries of a rectangle, a group of four.
_FLIPS = ((), (1,), (0,), (0, 1))

# (variables, images (B, H, W, C) in digital numbers) -> logits (B, H, W, K) float32
Logits = Callable[[Any, Array], Array]
Step = Callable[[Any, Mapping[str, Array]], Array]


class LargeImage(Protocol):
    """An image of any size, of which any window can be read."""

    @property
    def height(self) -> int:
        """In pixels."""
        ...

    @property
    def width(self) -> int:
        """In pixels."""
        ...

    def read(self, top: int, left: int, height: int, width: int) -> Mapping[str, np.ndarray]:
        """`image` (height, width, bands) in digital numbers; perhaps more."""
        ...

    def wanted(self, top: int, left: int, height: int, width: int) -> bool:
        """Whether anything is asked about a window's pixels; if not, it is passed over."""
        ...


@dataclass(frozen=True)
class SlidingWindow:
    """How a window slides.

    Attributes:
        window: its side, in pixels.
        stride: from one place to the next, in pixels.
        flips: whether each window is also seen flipped, in either direction and in both.
    """

    window: int
    stride: int
    flips: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.stride <= self.window:
            raise ValueError(
                f"stride is {self.stride} with a window of {self.window}; expected 1 to the window"
            )


class RowBlock(NamedTuple):
    """Whole rows of a picture.

    Attributes:
        picture: of which it is a part.
        top: its first row.
        logits: (rows, width, K) float32, means over the windows that see a pixel; 0 where none
            does, for nothing was asked there.
    """

    image: Any
    top: int
    logits: np.ndarray


def make_window_step(logits: Logits, mesh: Mesh, flips: bool = False) -> Step:
    """The compiled step: (variables, {image: (B, h, w, c) sharded over `data`}) -> (B, h, w, K).

    A device takes its windows one by one, so that a window's logits are the same to the bit however
    many devices there are, and take the memory of one.
    """
    flipped = _FLIPS if flips else _FLIPS[:1]

    def step(variables: Any, batch: Mapping[str, Array]) -> Array:
        def of_one(image: Array) -> Array:
            views = logits(variables, jnp.stack([jnp.flip(image, axes) for axes in flipped]))
            back = [jnp.flip(view, axes) for view, axes in zip(views, flipped, strict=True)]
            return jnp.mean(jnp.stack(back), axis=0)

        return jax.lax.map(of_one, batch["image"])

    return pmap_over_mesh(step, mesh, (REPLICATED, SHARDED), SHARDED)


def compute_sliding_logits(
    step: Step,
    variables: Any,
    images: Sequence[LargeImage],
    sliding: SlidingWindow,
    mesh: Mesh,
    batch_size: int,
    stop: ShutdownSignal | None = None,
) -> Iterator[RowBlock]:
    """The logits of whole pictures, band by band from the top, on every process.

    Args:
        step: see `make_window_step`; it is compiled once for each shape of windows, and these are
        of
            other shapes only on pictures smaller than the window.
        variables: replicated over `mesh`.
        pictures: one after the other.
        sliding: how.
        mesh: the devices.
        batch_size: windows at a time over all devices; a multiple of their number.
        stop: looked at between batches.

    Raises:
        Stopped: asked to stop while at it.
    """
    plan = [(image, _wanted(image, sliding)) for image in images]
    places = [(image, window) for image, chosen in plan for window in chosen]
    logits = _logits_of_windows(step, variables, places, mesh, batch_size, stop)
    for image, chosen in plan:
        yield from _bands(image, chosen, logits)


def _wanted(image: LargeImage, sliding: SlidingWindow) -> list[Window]:
    every = make_windows(image.height, image.width, sliding.window, sliding.stride)
    return [window for window in every if image.wanted(*window)]


class _WindowImages:
    """What is seen through windows of one shape, read like a `Source`."""

    def __init__(self, places: Sequence[tuple[LargeImage, Window]]) -> None:
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, position: int) -> dict[str, np.ndarray]:
        image, window = self._places[position]
        return {"image": image.read(*window)["image"]}


def _logits_of_windows(
    step: Step,
    variables: Any,
    places: Sequence[tuple[LargeImage, Window]],
    mesh: Mesh,
    batch_size: int,
    stop: ShutdownSignal | None,
) -> Iterator[np.ndarray]:
    """(h, w, K) of each place in turn; while the host adds them up, devices do the next batch."""
    for _, alike in itertools.groupby(places, key=lambda place: (place[1].height, place[1].width)):
        images = _WindowImages(list(alike))
        batches = evaluation_batches(images, batch_size, jax.process_index(), jax.process_count())
        under_way = (
            step(variables, {"image": batch["image"]})
            for batch in prefetch_to_devices(batches, mesh)
        )
        left = len(images)
        # The next batch is dispatched before this one is waited for.
        for logits, _ in itertools.pairwise(itertools.chain(under_way, [None])):
            if stop is not None and stop.poll():
                raise Stopped
            yield from process_allgather(logits, tiled=True)[:left]
            left -= batch_size


def _bands(
    image: LargeImage, chosen: Sequence[Window], logits: Iterator[np.ndarray]
) -> Iterator[RowBlock]:
    """Add up what is seen through the windows of a picture; rows that no other sees are done."""
    rows = [list(row) for _, row in itertools.groupby(chosen, key=lambda window: window.top)]
    ends = [*(row[0].top for row in rows), image.height][1:]
    total = seen = np.zeros((0, 0, 0), np.float32)
    for row, end in zip(rows, ends, strict=True):
        top, height = row[0].top, row[0].height
        for window in row:
            part = next(logits)
            if not total.size:
                total = np.zeros((height, image.width, part.shape[-1]), np.float32)
                seen = np.zeros((height, image.width, 1), np.float32)
            here = slice(window.left, window.left + window.width)
            total[:, here] += part
            seen[:, here] += 1
        done = min(end - top, height)
        yield RowBlock(image, top, total[:done] / np.maximum(seen[:done], 1))
        total, seen = (np.concatenate([x[done:], np.zeros_like(x[:done])]) for x in (total, seen))
