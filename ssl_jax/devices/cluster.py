"""Several processes as one job: joining it, and ending it when one of them is lost.

A process that waits in a collective for one that has died waits for ever, or until the system
aborts it. So each process tells the others every few seconds that it is alive, through the
key-value store of the job, and leaves in plain words when another hasn't for a while.
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

_ALIVE = "ssl_jax/alive/"
_BEAT = 2.0  # seconds
_PATIENCE = 20.0  # seconds without a beat
# Of jax's own service, which aborts the process: the last resort.
_HEARTBEAT_TIMEOUT = 50  # seconds


def join_job() -> None:
    """Join the other processes of this job, if a scheduler started several.

    Reads SLURM's variables or JAX_COORDINATOR_ADDRESS, JAX_PROCESS_COUNT and JAX_PROCESS_ID. One
    process drives all the GPUs of its node, hence `local_device_ids`: JAX would otherwise assume
    one process per GPU under SLURM.
    """
    if "JAX_COORDINATOR_ADDRESS" in os.environ:
        jax.distributed.initialize(
            coordinator_address=os.environ["JAX_COORDINATOR_ADDRESS"],
            num_processes=int(os.environ["JAX_PROCESS_COUNT"]),
            process_id=int(os.environ["JAX_PROCESS_ID"]),
            heartbeat_timeout_seconds=_HEARTBEAT_TIMEOUT,
        )
    elif int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        gpus = os.environ.get("SLURM_GPUS_ON_NODE", "1")
        jax.distributed.initialize(
            local_device_ids=list(range(int(gpus))), heartbeat_timeout_seconds=_HEARTBEAT_TIMEOUT
        )
    else:
        return
    if jax.process_count() > 1:
        _watch_over(key_value_store(), jax.process_index(), jax.process_count())


def exit_without_waiting(code: int) -> None:
    """End this process at once if its job would otherwise wait for it in vain.

    A process that fails does not wait for the others at the exit, as jax would have it: it tells
    them, and they leave too.
    """
    if code not in (0, STOPPED) and jax.distributed.is_initialized() and jax.process_count() > 1:
        key_value_store().key_value_set(
            _key(jax.process_index()), f"failed {code}", allow_overwrite=True
        )
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _key(process: int) -> str:
    return f"{_ALIVE}{process}"


def _watch_over(job: Any, own: int, processes: int) -> None:
    """Beat, and watch the others beat, in a thread until this process ends."""
    over = threading.Event()

    def beat_and_watch() -> None:
        seen = {process: ("", time.monotonic()) for process in range(processes)}
        for count in range(sys.maxsize):
            try:
                job.key_value_set(_key(own), str(count), allow_overwrite=True)
                beats = dict(job.key_value_dir_get(_ALIVE))
            except jax.errors.JaxRuntimeError:
                if not over.is_set():
                    _lost("the first process", "does not answer")
                return
            for process, (last, when) in seen.items():
                beat = beats.get(_key(process), "")
                silent = time.monotonic() - when
                if beat.startswith("failed"):
                    _lost(f"process {process}", f"has ended with exit code {beat.split()[1]}")
                elif beat != last:
                    seen[process] = beat, time.monotonic()
                elif beat != "done" and silent > _PATIENCE:
                    _lost(f"process {process}", f"has not been heard of for {silent:.0f} s")
            if over.wait(_BEAT):
                return

    def end() -> None:
        over.set()
        thread.join()
        job.key_value_set(_key(own), "done", allow_overwrite=True)

    thread = threading.Thread(target=beat_and_watch, daemon=True)
    thread.start()
    atexit.register(end)


def _lost(process: str, what: str) -> None:
    print(
        f"error: {process} of the {jax.process_count()} of this job {what}, and the job can't go "
        "on without it; the same command goes on from the newest bundle, with this number of "
        "processes or another",
        file=sys.stderr,
        flush=True,
    )
    os._exit(STOPPED)
