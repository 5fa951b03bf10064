"""Joining of a job of several processes, and its end when one of them is lost.

A process that waits in a collective for a dead process waits forever, or until the system aborts
it. Therefore each process sends heartbeats through the job's key-value store, in a thread, and
exits with an error message when another process announces its exit or sends none for a while. The
same thread restarts the process when one of the job has requested it (`ssl_jax.devices.restart`).
"""

import atexit
import contextlib
import os
import sys
import threading
import time

import jax

from data_pipelines.errors import end_process
from ssl_jax.devices.membership import Membership, is_job_step, read_membership
from ssl_jax.devices.processes import key_value_store
from ssl_jax.devices.restart import find_request, read_restarted_membership, restart_process

__all__ = ["exit_job", "exit_without_waiting", "join_job"]

_ALIVE_PREFIX = "ssl_jax/alive/"
_EXIT_PREFIX = "ssl_jax/exit/"
# In seconds.
_JOIN_TIMEOUT = 300
_HEARTBEAT_INTERVAL = 2.0
_HEARTBEAT_TIMEOUT = 20.0
# Of JAX's own service, which aborts the process: only a fallback, hence longer.
_JAX_HEARTBEAT_TIMEOUT = 50


def join_job() -> None:
    """Join the other processes of this job, if several were started together.

    If they do not all join within five minutes, the process ends with one line and exit code 75.

    Raises:
        UserError: If the environment variables contradict each other.
    """
    membership = read_restarted_membership(os.environ) or read_membership(os.environ)
    if membership is None:
        if int(os.environ.get("SLURM_NTASKS", "1")) > 1 and not is_job_step(os.environ):
            print(
                f"warning: SLURM_NTASKS is {os.environ['SLURM_NTASKS']}, but this process was not "
                "started by srun: it uses only this node; start it by srun to use all tasks",
                file=sys.stderr,
            )
        return
    timer = threading.Timer(_JOIN_TIMEOUT, _give_up, [membership])
    timer.daemon = True
    timer.start()
    jax.distributed.initialize(
        coordinator_address=membership.coordinator,
        num_processes=membership.count,
        process_id=membership.index,
        local_device_ids=membership.gpus,
        cluster_detection_method="deactivate",
        initialization_timeout=2 * _JOIN_TIMEOUT,  # at which JAX aborts the process with a trace
        heartbeat_timeout_seconds=_JAX_HEARTBEAT_TIMEOUT,
    )
    timer.cancel()
    if membership.count > 1:
        _start_heartbeats(membership)


def _give_up(membership: Membership) -> None:
    end_process(
        f"process {membership.index} of {membership.count}, counted from 0: not all processes of "
        f"the job joined at {membership.coordinator} within {_JOIN_TIMEOUT} s; see the output of "
        "the others, and start all of them together"
    )


def exit_without_waiting(code: int) -> None:
    """Exit immediately if this process is one of a job, after an error; otherwise return.

    By default JAX waits for the other processes at exit. A failed process instead announces its
    exit code, upon which the others exit too.

    Args:
        code: The exit code of this process.
    """
    if jax.distributed.is_initialized() and jax.process_count() > 1:
        exit_job(code, f"has failed with exit code {code}")


def exit_job(code: int, reason: str) -> None:
    """Exit immediately, in whatever thread, upon which the other processes of the job exit too.

    Args:
        code: The exit code of this process; that of the others is 75.
        reason: What the others report about this process, such as `has failed with exit code 2`.
    """
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # the first process is lost
        key_value_store().key_value_set(f"{_EXIT_PREFIX}{jax.process_index()}", reason)
    if jax.process_index() == 0:  # it serves the store, from which the others have to learn it
        time.sleep(_HEARTBEAT_INTERVAL + 0.5)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _start_heartbeats(membership: Membership) -> None:
    """Start a thread that sends heartbeats and monitors those of the others, until exit."""
    exiting, store = threading.Event(), key_value_store()
    own_key = f"{_ALIVE_PREFIX}{membership.index}"

    def send_and_monitor() -> None:
        others = set(range(membership.count)) - {membership.index}
        last_seen = {process: ("", time.monotonic()) for process in others}
        for number in range(sys.maxsize):
            try:
                store.key_value_set(own_key, str(number), allow_overwrite=True)
                heartbeats = dict(store.key_value_dir_get(_ALIVE_PREFIX))
                exits = dict(store.key_value_dir_get(_EXIT_PREFIX))
                if reason := find_request():
                    restart_process(reason, membership)
            except jax.errors.JaxRuntimeError:
                if not exiting.is_set():
                    _abort("process 0", "does not answer")
                return
            for process, (last, when) in last_seen.items():
                heartbeat = heartbeats.get(f"{_ALIVE_PREFIX}{process}", "")
                seconds = time.monotonic() - when
                if exit_reason := exits.get(f"{_EXIT_PREFIX}{process}"):
                    _abort(f"process {process}", exit_reason)
                elif heartbeat != last:
                    last_seen[process] = heartbeat, time.monotonic()
                elif heartbeat != "done" and seconds > _HEARTBEAT_TIMEOUT:
                    _abort(f"process {process}", f"has sent no heartbeat for {seconds:.0f} s")
            if exiting.wait(_HEARTBEAT_INTERVAL):
                return

    def stop() -> None:
        exiting.set()
        thread.join()
        store.key_value_set(own_key, "done", allow_overwrite=True)

    thread = threading.Thread(target=send_and_monitor, daemon=True)
    thread.start()
    atexit.register(stop)


def _abort(process: str, reason: str) -> None:
    end_process(
        f"{process} (of {jax.process_count()}, counted from 0) {reason}; the job cannot continue "
        "without it; run the same command again to resume from the newest checkpoint, with the "
        "same or another number of processes"
    )
