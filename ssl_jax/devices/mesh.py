"""The device mesh: one axis, `data`, over all devices of all processes; and sharding over it."""

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
    "make_local_mesh",
    "pmap_over_mesh",
    "replicate",
    "replicate_locally",
    "shard",
]

REPLICATED = P()
SHARDED = P("data")


def make_data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Make the mesh with the single axis `data` over `devices`, by default all devices."""
    return Mesh(np.asarray(devices or jax.devices()), ("data",), axis_types=(AxisType.Auto,))


def make_local_mesh(mesh: Mesh) -> Mesh:
    """Make the mesh of those devices of `mesh` that belong to this process."""
    process = jax.process_index()
    return make_data_mesh([d for d in mesh.devices.flat if d.process_index == process])


def pmap_over_mesh(
    function: Callable[..., Any],
    mesh: Mesh,
    in_specs: Any,
    out_specs: Any,
    donate: tuple[int, ...] = (),
) -> Callable[..., Any]:
    """Map a per-device function over the mesh, and compile it.

    This is `jax.pmap` as of JAX 0.8, without its leading device axis. Varying manual axes are
    checked, so that the gradient of a loss averaged by `pmean` is already summed over the devices.

    Args:
        function: The function of one device's shards; it may use collectives over `data`.
        mesh: The devices.
        in_specs: Partition specs of the arguments.
        out_specs: Partition specs of the results.
        donate: Indices of the arguments whose buffers are donated.
    """
    mapped = jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs)
    return jax.jit(mapped, donate_argnums=donate)


def jit_for_single_use(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function with little optimisation, because compilation dominates a single call."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def shard(batch: Any, mesh: Mesh) -> Any:
    """Copy this process's rows of a batch to its devices, sharded over `data`.

    Args:
        batch: Pytree of host arrays (B, …), where B is the batch size of this process.
        mesh: The devices.
    """
    sharding = NamedSharding(mesh, SHARDED)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Copy every array of a pytree to every device of the mesh."""
    return jax.device_put(tree, NamedSharding(mesh, REPLICATED))


def replicate_locally(tree: Any, local_mesh: Mesh) -> Any:
    """Replicate every array of a pytree over the devices of this process.

    Args:
        tree: Pytree of arrays of the host, or replicated over all devices of the job.
        local_mesh: The devices of this process.
    """
    sharding = NamedSharding(local_mesh, REPLICATED)

    def localise(array: Any) -> jax.Array:
        if not isinstance(array, jax.Array) or array.is_fully_addressable:
            return jax.device_put(array, sharding)
        copies = {shard.device: shard.data for shard in array.addressable_shards}
        local = [copies[device] for device in local_mesh.devices.flat]
        return jax.make_array_from_single_device_arrays(array.shape, sharding, local)

    return jax.tree.map(localise, tree)
