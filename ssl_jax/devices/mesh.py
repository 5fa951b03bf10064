"""The `data` mesh: one axis over all devices of all processes, and how arrays are laid on it."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

__all__ = [
    "REPLICATED",
    "SHARDED",
    "jit_for_single_use",
    "make_data_mesh",
    "pmap_over_mesh",
    "replicate",
    "shard",
]

REPLICATED = P()
SHARDED = P("data")


def make_data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """All devices (or those given) along the one axis `data`."""
    return Mesh(np.asarray(devices or jax.devices()), ("data",), axis_types=(AxisType.Auto,))


def pmap_over_mesh(
    function: Callable[..., Any],
    mesh: Mesh,
    in_specs: Any,
    out_specs: Any,
    donate: tuple[int, ...] = (),
) -> Callable[..., Any]:
    """Map a function written per device, with collectives over `data`, over the mesh; compile it.

    This is what `jax.pmap` has been since JAX 0.8, without its leading device axis. Varying manual
    axes are checked, so the gradient of a loss that was `pmean`ed is already summed over devices.
    """
    mapped = jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs)
    return jax.jit(mapped, donate_argnums=donate)


def jit_for_single_use(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` compiled with little optimisation: for what runs once, compiling is the cost."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def shard(batch: Any, mesh: Mesh) -> Any:
    """Lay this process's part of a host batch on its devices: leaves (B, …) sharded over `data`."""
    sharding = NamedSharding(mesh, SHARDED)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """A copy of every leaf on every device."""
    return jax.device_put(tree, NamedSharding(mesh, REPLICATED))
