"""Joining of a job of several processes, and its end when one of them is lost.

A process that waits in a collective for a dead process waits forever, or until the system aborts
it. Therefore each process sends heartbeats through the job's key-value store, and exits with an
error message when another process sends none for a while.
"""

import atexit
import os
import sys
import threading
import time
from typing import Any

import jax

from data_pipelines.errors import STOPPED
from ssl_jax.devices.processes import key_value_store

__all__ = ["exit_without_waiting", "join_job"]

_KEY_PREFIX = "ssl_jax/alive/"
# In seconds.
_HEARTBEAT_INTERVAL = 2.0
_HEARTBEAT_TIMEOUT = 20.0
# Of JAX's own service, which aborts the process: only a fallback, hence longer.
_JAX_HEARTBEAT_TIMEOUT = 50


def join_job() -> None:
    """Join the other processes of this job, if a scheduler started several.

    Reads SLURM's variables, or JAX_COORDINATOR_ADDRESS, JAX_PROCESS_COUNT and JAX_PROCESS_ID. One
    process drives all GPUs of its node; `local_device_ids` says so, because under SLURM JAX assumes
    one process per GPU by default.
    """
    if "JAX_COORDINATOR_ADDRESS" in os.environ:
        jax.distributed.initialize(
            coordinator_address=os.environ["JAX_COORDINATOR_ADDRESS"],
            num_processes=int(os.environ["JAX_PROCESS_COUNT"]),
            process_id=int(os.environ["JAX_PROCESS_ID"]),
            heartbeat_timeout_seconds=_JAX_HEARTBEAT_TIMEOUT,
        )
    elif int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        num_gpus = os.environ.get("SLURM_GPUS_ON_NODE", "1")
        jax.distributed.initialize(
            local_device_ids=list(range(int(num_gpus))),
            heartbeat_timeout_seconds=_JAX_HEARTBEAT_TIMEOUT,
        )
    else:
        return
    if jax.process_count() > 1:
        _start_heartbeats(key_value_store(), jax.process_index(), jax.process_count())


def exit_without_waiting(code: int) -> None:
    """Exit immediately if this process of a job has failed; otherwise return.

    By default JAX waits for the other processes at exit. A failed process instead announces its
    exit code, upon which the others exit too.

    Args:
        code: The exit code of this process.
    """
    if code not in (0, STOPPED) and jax.distributed.is_initialized() and jax.process_count() > 1:
        key_value_store().key_value_set(
            _key(jax.process_index()), f"failed {code}", allow_overwrite=True
        )
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _key(process: int) -> str:
    return f"{_KEY_PREFIX}{process}"


def _start_heartbeats(store: Any, index: int, count: int) -> None:
    """Start a thread that sends heartbeats and monitors those of the others, until exit.

    Args:
        store: The key-value store of the job.
        index: Index of this process.
        count: Number of processes.
    """
    exiting = threading.Event()

    def send_and_monitor() -> None:
        last_seen = {process: ("", time.monotonic()) for process in range(count)}
        for number in range(sys.maxsize):
            try:
                store.key_value_set(_key(index), str(number), allow_overwrite=True)
                heartbeats = dict(store.key_value_dir_get(_KEY_PREFIX))
            except jax.errors.JaxRuntimeError:
                if not exiting.is_set():
                    _abort("process 0", "does not answer")
                return
            for process, (last, when) in last_seen.items():
                heartbeat = heartbeats.get(_key(process), "")
                seconds = time.monotonic() - when
                if heartbeat.startswith("failed"):
                    _abort(
                        f"process {process}", f"has failed with exit code {heartbeat.split()[1]}"
                    )
                elif heartbeat != last:
                    last_seen[process] = heartbeat, time.monotonic()
                elif heartbeat != "done" and seconds > _HEARTBEAT_TIMEOUT:
                    _abort(f"process {process}", f"has sent no heartbeat for {seconds:.0f} s")
            if exiting.wait(_HEARTBEAT_INTERVAL):
                return

    def stop() -> None:
        exiting.set()
        thread.join()
        store.key_value_set(_key(index), "done", allow_overwrite=True)

    thread = threading.Thread(target=send_and_monitor, daemon=True)
    thread.start()
    atexit.register(stop)


def _abort(process: str, reason: str) -> None:
    print(
        f"error: {process} (of {jax.process_count()}, counted from 0) {reason}; the job cannot "
        "continue without it; run the same command again to resume from the newest checkpoint, "
        "with the same or another number of processes",
        file=sys.stderr,
        flush=True,
    )
    os._exit(STOPPED)
