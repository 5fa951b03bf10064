"""Reference window positions of mmsegmentation, and random window sizes and strides."""

from hypothesis import strategies as st


def compute_mmsegmentation_windows(size, crop, stride):
    """Compute the windows along an axis, (start, end), by the formulas of `slide_inference`."""
    windows = []
    for index in range(max(size - crop + stride - 1, 0) // stride + 1):
        end = min(index * stride + crop, size)
        windows.append((max(end - crop, 0), end))
    return windows


@st.composite
def window_sizes_and_strides(draw):
    size = draw(st.integers(1, 40))
    return size, draw(st.integers(1, size))
