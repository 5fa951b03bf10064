"""Results that repeat bit for bit on a GPU."""

import os

from data_pipelines.errors import UserError

__all__ = ["check_determinism", "request_determinism"]

# Excludes kernels that accumulate in random order, and the choice of kernels by their timings.
_FLAG = "--xla_gpu_deterministic_ops=true"


def request_determinism() -> None:
    """Make XLA compile deterministic programs; call it before JAX is used for the first time."""
    flags = os.environ.get("XLA_FLAGS", "")
    if _FLAG not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_FLAG}".strip()


def check_determinism() -> None:
    """Check that the programs of this process repeat their results to the bit.

    Raises:
        UserError: If there is a GPU and XLA was not asked for determinism.
    """
    import jax  # here, so that a command can request determinism before it imports JAX

    if jax.devices()[0].platform == "gpu" and _FLAG not in os.environ.get("XLA_FLAGS", ""):
        raise UserError(
            "config.deterministic: found True, but XLA compiles for speed; expected the "
            f"environment variable XLA_FLAGS={_FLAG} before JAX is used for the first time, as "
            "`python -m ssl_jax.train` sets it"
        )
