"""Names of JAX that it doesn't publish: used here and nowhere else.

If a release moves one of them, tests/test_private_names.py says which, and it is mended here. The
client of `jax._src.distributed` is the key-value store of a job of several processes. Public is
only `jax.experimental.multihost_utils`, whose every function is a collective of all devices: it
can't tell a process that others have died.
"""

from typing import Any

__all__ = ["distributed_client"]


def distributed_client() -> Any:
    """The client of JAX's coordination service; None outside of a job of several processes."""
    from jax._src import distributed

    return distributed.global_state.client
