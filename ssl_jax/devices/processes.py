"""What the processes of a job tell each other, beside what their devices do."""

import json
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from ssl_jax.devices.private import distributed_client

__all__ = ["gather_json", "key_value_store"]


def key_value_store() -> Any:
    """The key-value store of the job, which there is only where several processes joined."""
    client = distributed_client()
    assert client is not None
    return client


def gather_json(value: Any) -> list[Any]:
    """What each process of the job has, as JSON can hold it; in the order of processes."""
    if jax.process_count() == 1:
        return [value]
    mine = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.array([mine.size]))
    padded = np.pad(mine, (0, int(sizes.max()) - mine.size))
    all_of_them = multihost_utils.process_allgather(padded).reshape(len(sizes.reshape(-1)), -1)
    return [
        json.loads(row[: int(size)].tobytes())
        for row, size in zip(all_of_them, sizes.reshape(-1), strict=True)
    ]
