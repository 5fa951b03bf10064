"""Windows as mmsegmentation lays them, and random ones."""

from hypothesis import strategies as st


def by_mmsegmentation(size, crop, stride):
    """Starts and ends along an axis, from the formulas of `slide_inference`."""
    found = []
    for index in range(max(size - crop + stride - 1, 0) // stride + 1):
        end = min(index * stride + crop, size)
        found.append((max(end - crop, 0), end))
    return found


@st.composite
def slidings(draw):
    side = draw(st.integers(1, 40))
    return side, draw(st.integers(1, side))
