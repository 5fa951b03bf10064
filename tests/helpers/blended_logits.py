"""The logits of an image by a sliding window, in float64 and one window after the other."""

import numpy as np


def find_starts(size, window, stride):
    """Return where windows begin along an axis: until its end has at least the margin of both."""
    margin = (window - stride) // 2
    starts = [-margin]
    while starts[-1] + window < size + window - stride - margin:
        starts.append(starts[-1] + stride)
    return starts


def blend(image, window, stride, compute, is_computed=lambda rows, columns: True):
    """Blend the outputs of windows.

    Args:
        image: (height, width, bands).
        window: Side of the window, in pixels.
        stride: Distance of windows, in pixels.
        compute: Function of a window (window, window, bands) -> (window, window, K).
        is_computed: Function of the slices of a window in the image, whether it is computed.

    Returns:
        (height, width, K) float64; NaN where no window is computed.
    """
    height, width, _ = image.shape
    rows, columns = (find_starts(size, window, stride) for size in (height, width))
    padded = np.pad(image, (*((-s[0], window) for s in (rows, columns)), (0, 0)), mode="reflect")
    profile = np.sin(np.pi * (np.arange(window) + 0.5) / window) ** 2
    weight = np.outer(profile, profile)[..., None]
    total, weights = 0, np.zeros((*padded.shape[:2], 1))
    for y in rows:
        for x in columns:
            inside = np.s_[max(0, y) : y + window], np.s_[max(0, x) : x + window]
            if not is_computed(*inside):
                continue
            top, left = y - rows[0], x - columns[0]
            place = np.s_[top : top + window, left : left + window]
            outputs = np.asarray(compute(padded[place]), np.float64)
            if isinstance(total, int):
                total = np.zeros((*padded.shape[:2], outputs.shape[-1]))
            total[place] += weight * outputs
            weights[place] += weight
    inside = np.s_[-rows[0] : height - rows[0], -columns[0] : width - columns[0]]
    with np.errstate(invalid="ignore"):
        return total[inside] / weights[inside]
