"""Communication between the processes of a job, on the host."""

import json
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from ssl_jax.devices.private import distributed_client

__all__ = ["gather_json", "key_value_store"]


def key_value_store() -> Any:
    """Return the key-value store of the job; it exists only in jobs of several processes."""
    client = distributed_client()
    assert client is not None
    return client


def gather_json(value: Any) -> list[Any]:
    """Gather a JSON-serialisable value from each process of the job.

    All processes must call it, as it is a collective.

    Args:
        value: The value of this process.

    Returns:
        The values of all processes, in the order of their indices.
    """
    if jax.process_count() == 1:
        return [value]
    encoded = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.array([encoded.size])).reshape(-1)
    padded = np.pad(encoded, (0, int(sizes.max()) - encoded.size))
    rows = multihost_utils.process_allgather(padded).reshape(len(sizes), -1)
    return [json.loads(row[: int(size)].tobytes()) for row, size in zip(rows, sizes, strict=True)]
