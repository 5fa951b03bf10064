"""Communication between the processes of a job, on the host.

What depends on files is decided by the first process of a job and told to the others (`decide`):
the processes can see a shared disk differently, for instance through a stale cache of NFS, and if
one of them enters a collective that another does not, both wait forever.

Messages go through the job's key-value store and not through collectives over the devices, so that
a process that waits for one still handles signals.
"""

import itertools
import json
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather

from data_pipelines.errors import UserError
from ssl_jax.devices.private import distributed_client

__all__ = ["decide", "gather_json", "key_value_store", "sum_over_processes"]

Value = TypeVar("Value")

# All processes make the same exchanges in the same order, so that they count them alike.
_exchanges = itertools.count()


def key_value_store() -> Any:
    """Return the key-value store of the job; it exists only in jobs of several processes."""
    client = distributed_client()
    assert client is not None
    return client


def decide(function: Callable[[], Value]) -> Value:
    """Call a function on the first process of the job, and return its result on all of them.

    All processes must call it at the same point of the program; each waits for the first.

    Args:
        function: Looks at files, or changes them. Its result must be JSON-serialisable.

    Returns:
        The result, the same on all processes.

    Raises:
        UserError: If the function raises one on the first process; the same on all processes.
        RuntimeError: If it raises another exception on the first process; on the other processes.
    """
    if jax.process_count() == 1:
        return function()
    key = f"ssl_jax/exchange/{next(_exchanges)}"
    if jax.process_index() != 0:
        message = json.loads(_wait_for(key))
        if "refusal" in message:
            raise UserError(message["refusal"])
        if "error" in message:
            raise RuntimeError(f"process 0 failed: {message['error']}")
        return message["value"]
    try:
        value = function()
    except Exception as error:
        is_refusal = isinstance(error, UserError)
        text = str(error) if is_refusal else f"{type(error).__name__}: {error}"
        _send(key, {"refusal" if is_refusal else "error": text})
        raise
    _send(key, {"value": value})
    return value


def gather_json(value: Any) -> list[Any]:
    """Gather a JSON-serialisable value from each process of the job.

    All processes must call it at the same point of the program; each waits for all.

    Args:
        value: The value of this process.

    Returns:
        The values of all processes, in the order of their indices.
    """
    if jax.process_count() == 1:
        return [value]
    key = f"ssl_jax/exchange/{next(_exchanges)}"
    _send(f"{key}/{jax.process_index()}", value)
    return [json.loads(_wait_for(f"{key}/{index}")) for index in range(jax.process_count())]


def sum_over_processes(array: np.ndarray) -> np.ndarray:
    """Add up an array of each process of the job, in the order of their indices.

    It is a collective over the devices: all processes must call it.

    Args:
        array: The array of this process, (n, ...) of the same shape on all, of any dtype.
    """
    if jax.process_count() == 1:
        return array
    # As bytes: JAX would turn 64-bit numbers to 32 bits.
    gathered = process_allgather(np.ascontiguousarray(array).view(np.uint8))
    return np.ascontiguousarray(gathered).view(array.dtype).sum(axis=0)


def _send(key: str, message: Any) -> None:
    key_value_store().key_value_set(key, json.dumps(message))


def _wait_for(key: str) -> str:
    while True:
        try:
            return key_value_store().blocking_key_value_get(key, 1000)  # ms; signals are handled
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise
