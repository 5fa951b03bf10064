"""Names that JAX does not publish; they are used in this module only.

tests/test_private_names.py fails if a release of JAX moves one of them. The client of
`jax._src.distributed` is the key-value store of a job of several processes. The public
`jax.experimental.multihost_utils` does not suffice: all its functions are collectives over all
devices, so that a process cannot use them to learn that others have died.
"""

from typing import Any

import jax

__all__ = ["distributed_client", "varying_axes"]


def distributed_client() -> Any:
    """Return the client of JAX's coordination service; None outside of a multi-process job."""
    from jax._src import distributed

    return distributed.global_state.client


def varying_axes(array: jax.Array) -> frozenset[str]:
    """Return the axes of the mesh along which JAX regards an array as different on the devices."""
    return jax.typeof(array).manual_axis_type.varying
