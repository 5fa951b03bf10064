"""Locks between processes and machines: live, dead and stopped owners."""

import errno
import fcntl
import os
import re
import subprocess
import sys
import time

import pytest
from waiting import wait_for

from data_pipelines.errors import warn_once
from data_pipelines.files import lock
from data_pipelines.files.lock import Locked, Owner, acquire_lock, find_owner

HOLD = """
import sys, time
from pathlib import Path
from data_pipelines.files import lock
lock._LEASE_DURATION, lock._HEARTBEAT_INTERVAL = 3.0, 0.3
with lock.acquire_lock(Path(sys.argv[1]), "thing", "using it"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(lock, "_LEASE_DURATION", 3.0)
    monkeypatch.setattr(lock, "_HEARTBEAT_INTERVAL", 0.3)


@pytest.fixture
def without_system_locks(monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    warn_once.cache_clear()


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".lock"


@pytest.fixture
def holder(path):
    """Another process, which holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def move_owner_to_another_machine(path):
    record = path.with_name(".lock.owner")
    text = re.sub("host=.*", "host=gpu17", record.read_text())
    with record.open("r+") as file:  # in place: the owner goes on touching it
        file.truncate(0)
        file.write(text)


def test_a_lock_is_held_by_one_process_and_leaves_no_files(path, holder):
    assert find_owner(path).process == holder.pid
    with (
        pytest.raises(Locked, match=rf"^thing: another process is using it \(process {holder.pid}"),
        acquire_lock(path, "thing", "using it"),
    ):
        pass
    holder.kill()
    holder.wait()
    with acquire_lock(path, "thing", "using it"):
        assert (path.parent / ".lock.owner").exists()
        assert find_owner(path) is None  # no other one
    assert list(path.parent.iterdir()) == []
    assert find_owner(path) is None


@pytest.mark.usefixtures("quick", "without_system_locks")
def test_a_live_owner_on_another_machine_is_recognised_by_its_heartbeats(path, holder, capsys):
    move_owner_to_another_machine(path)
    assert find_owner(path) == Owner("gpu17", holder.pid)
    with (
        pytest.raises(Locked, match=rf"process {holder.pid} on gpu17"),
        acquire_lock(path, "thing", "using it"),
    ):
        pass
    warning, waiting = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: the file system has no locks (No locks available)")
    assert waiting.startswith(f"thing: waiting up to 3 s to see whether process {holder.pid} on")


@pytest.mark.usefixtures("quick", "without_system_locks")
def test_the_lock_of_a_dead_owner_on_another_machine_is_taken_over(path, holder):
    move_owner_to_another_machine(path)
    holder.kill()
    holder.wait()
    began = time.monotonic()
    with acquire_lock(path, "thing", "using it"):
        assert time.monotonic() - began >= 2.9
        assert str(os.getpid()) in (path.parent / ".lock.owner").read_text()


@pytest.mark.usefixtures("quick")
def test_the_own_lock_is_taken_over_after_a_restart(path, holder, capsys):
    """A process that replaces itself keeps its process id, so that its record looks alive."""
    holder.kill()
    holder.wait()
    lease = lock._make_lease(path)
    lease.acquire()  # what the process before left, without its flock
    assert find_owner(path) is None
    with acquire_lock(path, "thing", "using it"):
        assert capsys.readouterr().err == ""  # it does not wait


def test_an_owner_whose_lock_was_taken_over_ends(path, holder):
    holder.kill()
    holder.wait()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    path.with_name(".lock.owner").unlink()
    wait_for(lambda: process.poll() is not None)
    assert process.returncode == 75
    errors = process.stderr.read()
    assert errors.startswith("error: thing: another process took it over, or it was deleted")
    assert errors.count("\n") == 1
