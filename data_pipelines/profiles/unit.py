"""The unit of a band's physical values."""

import math

__all__ = ["REFLECTANCE", "name_unit"]

REFLECTANCE = "reflectance"
_FULL_SCALE = "fraction of full scale"


def name_unit(scale: float) -> str:
    """Name the unit of `digital number * scale`.

    Cameras that aren't calibrated have numbers up to 255 or 65,535, which stand for full scale.

    Args:
        scale: Physical units per digital number.
    """
    full_scales = (1 / 255, 1 / 65535)
    is_camera = any(math.isclose(scale, full, rel_tol=1e-6) for full in full_scales)
    return _FULL_SCALE if is_camera else REFLECTANCE
