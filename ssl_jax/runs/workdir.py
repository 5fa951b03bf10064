"""The folder of a run is its whole truth: whose it is, whether it is done, what came out."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from data_pipelines.errors import UNWRITABLE, UserError, os_error_reason
from data_pipelines.files.lock import acquire_lock
from data_pipelines.files.writing import write_json
from ssl_jax.devices.processes import gather_json

__all__ = ["lock_workdir", "read_results", "record_config"]

# What may differ when a run goes on: none of it changes the numbers.
_FREE_TO_CHANGE = (
    "bad_loss.skip",
    "data.data_dir",
    "data.on_error",
    "data.threads",
    "every.",
    "keep",
    "pretrained",
    "probe.",
)


@contextlib.contextmanager
def lock_workdir(config: ConfigDict, workdir: Path) -> Iterator[None]:
    """Be the only job that trains this config in `workdir`, which no other config was trained in.

    Of a job of several processes the first one sees to it.

    Raises:
        UserError: another job is at it, another config was trained there, or the folder can't be
            written.
    """
    lock = contextlib.ExitStack()
    refusal: UserError | None = None
    if jax.process_index() == 0:
        try:
            record_config(config, workdir)
            busy = f"workdir {workdir}: another process is training in it; wait for it, or stop it"
            lock.enter_context(acquire_lock(workdir / ".lock", busy))
        except OSError as error:
            refusal = UserError(_unwritable(workdir, error))
        except UserError as error:
            refusal = error
    if not gather_json(refusal is None)[0]:
        refusal = refusal or UserError(
            f"workdir {workdir}: refused by the first process of the job"
        )
    if refusal is not None:
        raise refusal
    with lock:
        try:
            yield
        except OSError as error:
            reason = os_error_reason(error, UNWRITABLE)
            if not reason:
                raise
            raise UserError(
                f"workdir {workdir}: can't be written ({reason}): make room, then the same "
                "command goes on from the newest bundle"
            ) from error


def record_config(config: ConfigDict, workdir: Path) -> None:
    """Make `workdir` the folder of this config, or make sure that it is.

    Raises:
        UserError: another config was trained there, or the folder can't be written.
    """
    record = workdir / "config.json"
    # Older configs call an image a picture.
    wanted = json.loads(json.dumps(config.to_dict()).replace(" of pictures]", " of images]"))
    if record.exists():
        found = json.loads(record.read_text().replace(" of pictures]", " of images]"))
        # What a search finds takes the place of the rate that was asked for.
        searched = wanted.get("search", {}).get("learning_rates")
        free = (*_FREE_TO_CHANGE, "optimizer.learning_rate") if searched else _FREE_TO_CHANGE
        for field, there, here in _differences(found, wanted):
            if not field.startswith(free):
                raise UserError(
                    f"workdir {workdir}: belongs to a run with config.{field} = {there!r}, this "
                    f"one has {here!r}; expected the same config: choose another --workdir"
                )
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(record, wanted)
    except OSError as error:
        raise UserError(_unwritable(workdir, error)) from error


def _unwritable(workdir: Path, error: OSError) -> str:
    return f"workdir {workdir}: {error.strerror}; expected a folder that can be written"


def read_results(workdir: Path) -> dict[str, Any] | None:
    """What a finished run came to; None while it isn't finished."""
    path = workdir / "results.json"
    return json.loads(path.read_text()) if path.exists() else None


def _differences(
    first: dict[str, Any], second: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Fields (dotted) that are not the same, with both values."""
    for name in sorted(first.keys() | second.keys()):
        one, other = first.get(name, "nothing"), second.get(name, "nothing")
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _differences(one, other, f"{prefix}{name}.")
        elif one != other:
            yield f"{prefix}{name}", one, other
