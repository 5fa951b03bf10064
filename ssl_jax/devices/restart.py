"""Restart of all processes of a job after a failure in one of them.

The others may wait for the failed process in a collective, which nothing but the end of the process
can interrupt. Therefore each process replaces itself by a new one with the same command (`exec`),
which keeps the process id and thereby its place in a job step of SLURM. The new processes join at
another port, and read from an environment variable why the job was restarted.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, NoReturn

import jax

from data_pipelines.errors import end_process
from ssl_jax.devices.membership import Membership
from ssl_jax.devices.processes import key_value_store

__all__ = [
    "find_request",
    "read_restart_reason",
    "read_restarted_membership",
    "request_restart",
    "restart_process",
]

_VARIABLE = "SSL_JAX_RESTART"
_KEY_PREFIX = "ssl_jax/restart/"
_TIMEOUT = 30.0  # in seconds


def request_restart(reason: Mapping[str, Any]) -> NoReturn:
    """Have all processes of the job restarted; of several requests the first one counts.

    Args:
        reason: Why, as JSON; `read_restart_reason` returns it in the new processes.
    """
    try:
        key_value_store().key_value_set(f"{_KEY_PREFIX}reason", json.dumps(reason))
    except jax.errors.JaxRuntimeError as error:
        if "ALREADY_EXISTS" not in str(error):
            raise
    while True:  # the thread that sends the heartbeats replaces the process
        time.sleep(1.0)


def find_request() -> dict[str, Any] | None:
    """Return the reason of a restart if a process of the job has requested one."""
    reason = dict(key_value_store().key_value_dir_get(_KEY_PREFIX)).get(f"{_KEY_PREFIX}reason")
    return None if reason is None else json.loads(reason)


def restart_process(reason: Mapping[str, Any], membership: Membership) -> NoReturn:
    """Replace this process by a new one with the same command.

    The first process is replaced last: the connections of the others to it would break.

    Args:
        reason: Why, as JSON.
        membership: The place of this process in the job.
    """
    store = key_value_store()
    if membership.index == 0:
        port = _find_free_port()
        store.key_value_set(f"{_KEY_PREFIX}port", str(port))
        _wait_until_others_left(membership)
    else:
        port = int(store.blocking_key_value_get(f"{_KEY_PREFIX}port", int(1000 * _TIMEOUT)))
        store.key_value_set(f"{_KEY_PREFIX}left/{membership.index}", "")
    host = membership.coordinator.rpartition(":")[0]
    membership = replace(membership, coordinator=f"{host}:{port}")
    os.environ[_VARIABLE] = json.dumps({"reason": reason, "membership": asdict(membership)})
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _find_free_port() -> int:
    with socket.socket() as free:
        free.bind(("", 0))
        return free.getsockname()[1]


def _wait_until_others_left(membership: Membership) -> None:
    end = time.monotonic() + _TIMEOUT
    while len(key_value_store().key_value_dir_get(f"{_KEY_PREFIX}left/")) < membership.count - 1:
        if time.monotonic() > end:
            end_process(
                f"a process of the job did not restart within {_TIMEOUT:.0f} s after the failure "
                "of a run; run the same command again to continue"
            )
        time.sleep(0.1)
    time.sleep(1.0)  # between the message of a process and its replacement


def read_restart_reason(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the reason for which this process was restarted; empty if it was not."""
    return json.loads(environment[_VARIABLE])["reason"] if _VARIABLE in environment else {}


def read_restarted_membership(environment: Mapping[str, str]) -> Membership | None:
    """Return the place of this process in the job if it was restarted; otherwise None."""
    if _VARIABLE not in environment:
        return None
    fields = json.loads(environment[_VARIABLE])["membership"]
    return Membership(**{**fields, "gpus": fields["gpus"] and tuple(fields["gpus"])})
