"""Self-supervised learning for satellite images in JAX.

`ssl_jax.load(path)` loads a trained network as a function of images. Everything else is done by the
commands `python -m ssl_jax.COMMAND`: `train`, `evaluate`, `predict`, which maps whole scenes,
`areas`, which estimates the areas of a map's classes, `study`, `report`, `convert`, which imports
and exports weights of PyTorch libraries, and `bench`, which measures the speed. `terminal` holds
what the commands share.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssl_jax.runs.inference import Model

__all__ = ["load"]


def load(path: str | Path, accept: Sequence[str] = (), verify: bool = False) -> "Model":
    """Load the model of a run's workdir, or of one of its `checkpoints/<step>` folders.

    Args:
        path: The workdir or checkpoint.
        accept: Names of checks of images to pass over.
        verify: Whether to compute the answers of the checkpoint's canary again, and to warn if this
            machine answers otherwise.

    Returns:
        The model, a function of images; see `ssl_jax.runs.inference.Model`.

    Raises:
        UserError: If there is no checkpoint.
    """
    # Imported here, so that importing a subpackage does not import all the others.
    from ssl_jax.runs import inference

    return inference.load(path, accept, verify)
