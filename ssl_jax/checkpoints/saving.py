"""Saving checkpoints: `checkpoints/<step>/{state, data, card}`, asynchronously and atomically.

`state` is the pytree of the TrainState, `data` and `card` are JSON. Nothing is pickled; a bundle
can be read by plain `orbax.checkpoint.v1` without this package. A finished bundle is sealed (see
`ssl_jax.checkpoints.manifest`), and only when its successor is sealed is an old one deleted.
"""

import contextlib
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from data_pipelines.errors import UNWRITABLE, UserError, os_error_reason
from ssl_jax.checkpoints.loading import (
    find_valid_checkpoints,
    list_checkpoints,
    load_card,
    orbax_context,
    state_to_dict,
)
from ssl_jax.checkpoints.manifest import find_corruption, is_complete, replace_file, write_manifest
from ssl_jax.checkpoints.orbax_threads import silence_save_errors
from ssl_jax.devices.processes import gather_json
from ssl_jax.training.state import TrainState

__all__ = ["Checkpointer"]


class Checkpointer:
    """The bundles of a run, written in the background while training goes on.

    Use as a context manager: leaving it waits for the save under way. In a job of several processes
    all must save at the same steps; the first one seals and deletes.

    Args:
        directory: of the bundles, `checkpoints` in a workdir.
        keep: how many sound ones are kept, the newest.

    """

    def __init__(self, directory: Path, keep: int) -> None:
        silence_save_errors()
        self._directory = directory.resolve()
        self._keep = max(keep, 1)
        self._leads = jax.process_index() == 0
        self._saved: int | None = None  # the newest step saved by this process
        self._sealing: threading.Thread | None = None
        self._failure: BaseException | None = None

    def __enter__(self) -> "Checkpointer":
        if self._leads:
            with _told(self._directory):
                self._directory.mkdir(parents=True, exist_ok=True)
                for leftover in self._directory.glob("*.orbax-checkpoint-tmp*"):
                    shutil.rmtree(leftover)
        return self

    def __exit__(self, *error: object) -> None:
        self.wait()

    @property
    def newest(self) -> Path | None:
        """The newest sound bundle; None when there is none. The same one on all processes."""
        found = next(find_valid_checkpoints(self._directory), None) if self._leads else None
        name = gather_json(found and found.name)[0]  # as the first process sees it
        return None if name is None else self._directory / name

    def save(self, state: TrainState, position: dict[str, Any], card: dict[str, Any]) -> None:
        """Start saving; returns once the state has been copied from the devices.

        Raises:
            UserError: this bundle or the one before can't be written.
        """
        step = int(state.step)
        if step == self._saved:
            return
        self.wait()
        checkpoint = self._directory / str(step)
        if is_complete(checkpoint) and not find_corruption(
            checkpoint
        ):  # restored from it, and no step further
            text = json.dumps(card)
            if self._leads and json.dumps(load_card(checkpoint)) != text:  # it was evaluated since
                with _told(checkpoint):
                    replace_file(checkpoint, "card/data.json", text)
            self._saved = step
            return
        with _told(checkpoint), orbax_context():
            response = ocp.save_checkpointables_async(
                checkpoint,
                {"state": state_to_dict(state), "data": position, "card": card},
                overwrite=True,  # of a damaged bundle of that step
            )
        self._saved = step
        self._sealing = threading.Thread(target=self._seal, args=(response, checkpoint))
        self._sealing.start()

    def wait(self) -> None:
        """Wait for the save under way.

        Raises:
            UserError: it can't be written.
        """
        if self._sealing is not None:
            self._sealing.join()
            self._sealing = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            with _told(self._directory / str(self._saved)):
                raise failure

    def _seal(self, response: Any, checkpoint: Path) -> None:
        try:
            response.result()
            if self._leads:
                write_manifest(checkpoint)
                self._delete_old()
        except BaseException as failure:
            self._failure = failure

    def _delete_old(self) -> None:
        sealed = [
            checkpoint
            for checkpoint in list_checkpoints(self._directory)
            if is_complete(checkpoint)
        ]
        if len(sealed) > self._keep:
            oldest_kept = int(sealed[self._keep - 1].name)
            for checkpoint in list_checkpoints(self._directory):
                if int(checkpoint.name) < oldest_kept:
                    shutil.rmtree(checkpoint)


@contextlib.contextmanager
def _told(checkpoint: Path) -> Iterator[None]:
    """A disk that is full or can't be written, told in one line.

    Raises:
        UserError: it is.
    """
    try:
        yield
    except Exception as error:
        reason = _reason(error)
        if not reason:
            raise
        sound = next(find_valid_checkpoints(checkpoint.parent), None)
        left = f"the newest sound one is {sound}" if sound else "there is none yet"
        raise UserError(
            f"bundle {checkpoint}: can't be written ({reason}); {left}: make room or choose "
            f"another "
            "--workdir, then the same command goes on"
        ) from error


def _reason(error: BaseException) -> str:
    """What the system said, if an error is about a file."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return os_error_reason(error, UNWRITABLE)
