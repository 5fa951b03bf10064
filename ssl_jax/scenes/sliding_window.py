"""Logits of images of any size by a sliding window, averaged where windows overlap.

Windows of all images are batched over all devices. Their logits return to the host and are added
up there, one block of rows at a time. Hence the memory required on the devices does not depend on
the size of an image, and that on the host only on its width.
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

# Axes of an image (h, w, c) to flip: the four symmetries of a rectangle.
_FLIPS = ((), (1,), (0,), (0, 1))

# (variables, images (B, H, W, C) in digital numbers) -> logits (B, H, W, K) float32
Logits = Callable[[Any, Array], Array]
Step = Callable[[Any, Mapping[str, Array]], Array]


class LargeImage(Protocol):
    """The interface of an image of any size, of which any window can be read."""

    @property
    def height(self) -> int:
        """The height, in pixels."""
        ...

    @property
    def width(self) -> int:
        """The width, in pixels."""
        ...

    def read(self, top: int, left: int, height: int, width: int) -> Mapping[str, np.ndarray]:
        """Read a window.

        Args:
            top: Row of its upper edge, in pixels.
            left: Column of its left edge, in pixels.
            height: Height, in pixels.
            width: Width, in pixels.

        Returns:
            `image` (height, width, bands) in digital numbers, and possibly further arrays.
        """
        ...

    def is_needed(self, top: int, left: int, height: int, width: int) -> bool:
        """Return whether any pixel of a window is evaluated; other windows are skipped."""
        ...


@dataclass(frozen=True)
class SlidingWindow:
    """Parameters of a sliding window.

    Attributes:
        window: Side of the window, in pixels.
        stride: Distance between neighbouring positions, in pixels.
        flips: Whether to average over flips of each window along either axis and along both.
    """

    window: int
    stride: int
    flips: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.stride <= self.window:
            raise ValueError(
                f"stride: found {self.stride} with a window of {self.window} pixels; "
                f"expected 1 to {self.window}"
            )


class RowBlock(NamedTuple):
    """Consecutive rows of an image with their logits.

    Attributes:
        image: The image.
        top: Index of the first row.
        logits: Means over the windows that contain a pixel, (rows, width, K) float32. They are 0
            for pixels in no window, which are not evaluated.
    """

    image: Any
    top: int
    logits: np.ndarray


def make_window_step(logits: Logits, mesh: Mesh, flips: bool = False) -> Step:
    """Make the compiled step that computes the logits of a batch of windows.

    Each device processes its windows one after the other. The logits of a window are thus bitwise
    identical for any number of devices, and only one window is in memory.

    Args:
        logits: Function `(variables, images (B, H, W, C)) -> logits (B, H, W, K)`.
        mesh: The devices.
        flips: Whether to average over flips, as in `SlidingWindow`.

    Returns:
        A function `(variables, {"image": (B, h, w, c) sharded over `data`}) -> (B, h, w, K)`.
    """
    flip_axes = _FLIPS if flips else _FLIPS[:1]

    def step(variables: Any, batch: Mapping[str, Array]) -> Array:
        def average_flips(image: Array) -> Array:
            views = logits(variables, jnp.stack([jnp.flip(image, axes) for axes in flip_axes]))
            unflipped = [jnp.flip(view, axes) for view, axes in zip(views, flip_axes, strict=True)]
            return jnp.mean(jnp.stack(unflipped), axis=0)

        return jax.lax.map(average_flips, batch["image"])

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
    """Compute the logits of images, in blocks of rows from the top, on every process.

    Args:
        step: Result of `make_window_step`. It is compiled once for each shape of windows; shapes
            differ only for images smaller than the window.
        variables: The variables, replicated over `mesh`.
        images: The images, which are processed one after the other.
        sliding: The sliding window.
        mesh: The devices.
        batch_size: Windows per batch over all devices, a multiple of their number.
        stop: Shutdown signal, which is polled between batches.

    Yields:
        Blocks of rows of each image, which do not overlap.

    Raises:
        Stopped: If a shutdown is requested.
    """
    windows_by_image = [(image, _find_evaluated_windows(image, sliding)) for image in images]
    locations = [(image, window) for image, windows in windows_by_image for window in windows]
    logits = _compute_window_logits(step, variables, locations, mesh, batch_size, stop)
    for image, windows in windows_by_image:
        yield from _average_windows(image, windows, logits)


def _find_evaluated_windows(image: LargeImage, sliding: SlidingWindow) -> list[Window]:
    windows = make_windows(image.height, image.width, sliding.window, sliding.stride)
    return [window for window in windows if image.is_needed(*window)]


class _WindowSource:
    """A `Source` of the images in windows of one shape."""

    def __init__(self, locations: Sequence[tuple[LargeImage, Window]]) -> None:
        self._locations = locations

    def __len__(self) -> int:
        return len(self._locations)

    def __getitem__(self, position: int) -> dict[str, np.ndarray]:
        image, window = self._locations[position]
        return {"image": image.read(*window)["image"]}


def _compute_window_logits(
    step: Step,
    variables: Any,
    locations: Sequence[tuple[LargeImage, Window]],
    mesh: Mesh,
    batch_size: int,
    stop: ShutdownSignal | None,
) -> Iterator[np.ndarray]:
    """Yield the logits (h, w, K) of each window in order.

    The devices compute the next batch while the host adds up the logits of this one.
    """
    for _, group in itertools.groupby(locations, key=lambda x: (x[1].height, x[1].width)):
        source = _WindowSource(list(group))
        batches = evaluation_batches(source, batch_size, jax.process_index(), jax.process_count())
        results = (
            step(variables, {"image": batch["image"]})
            for batch in prefetch_to_devices(batches, mesh)
        )
        remaining = len(source)
        # `pairwise` dispatches the next batch before this one is waited for.
        for logits, _ in itertools.pairwise(itertools.chain(results, [None])):
            if stop is not None and stop.poll():
                raise Stopped
            yield from process_allgather(logits, tiled=True)[:remaining]
            remaining -= batch_size


def _average_windows(
    image: LargeImage, windows: Sequence[Window], logits: Iterator[np.ndarray]
) -> Iterator[RowBlock]:
    """Average the logits of an image's windows, yielding rows once no further window has them."""
    rows = [list(row) for _, row in itertools.groupby(windows, key=lambda window: window.top)]
    ends = [*(row[0].top for row in rows), image.height][1:]
    total = count = np.zeros((0, 0, 0), np.float32)
    for row, end in zip(rows, ends, strict=True):
        top, height = row[0].top, row[0].height
        for window in row:
            window_logits = next(logits)
            if not total.size:
                total = np.zeros((height, image.width, window_logits.shape[-1]), np.float32)
                count = np.zeros((height, image.width, 1), np.float32)
            columns = slice(window.left, window.left + window.width)
            total[:, columns] += window_logits
            count[:, columns] += 1
        done = min(end - top, height)
        yield RowBlock(image, top, total[:done] / np.maximum(count[:done], 1))
        total, count = (np.concatenate([x[done:], np.zeros_like(x[:done])]) for x in (total, count))
