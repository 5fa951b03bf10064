"""Self-supervised learning for satellite images in JAX.

`ssl_jax.load(path)` restores a trained network as a function of images; everything else is done by
the commands `python -m ssl_jax.COMMAND`: `train`, `evaluate`, `study`, `report` and, for weights of
other libraries, `convert`. They share `terminal`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssl_jax.runs.inference import Model

__all__ = ["load"]


def load(path: str | Path) -> "Model":
    """The model of a run's workdir, or of one of its `checkpoints/<step>` folders.

    See `ssl_jax.runs.inference.Model` for what can be asked of it.

    Raises:
        UserError: there is no checkpoint.
    """
    # Here, so that importing one part of the package does not import all of it.
    from ssl_jax.runs import inference

    return inference.load(path)
