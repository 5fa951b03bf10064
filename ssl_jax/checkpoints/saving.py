"""Saving checkpoints: `checkpoints/<step>/{state, data, card}`, asynchronously and atomically.

`state` is the pytree of the TrainState, `data` and `card` are JSON. Nothing is pickled; plain
`orbax.checkpoint.v1` can read a checkpoint without this package. A finished checkpoint gets a
manifest (see `ssl_jax.checkpoints.manifest`); only then are older checkpoints deleted.
"""

import contextlib
import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from data_pipelines.errors import UNWRITABLE, UserError, os_error_reason
from ssl_jax.checkpoints.finding import find_valid_checkpoints, list_checkpoints
from ssl_jax.checkpoints.loading import load_card, orbax_context, state_to_dict
from ssl_jax.checkpoints.manifest import find_corruption, is_complete, replace_file, write_manifest
from ssl_jax.checkpoints.orbax_threads import silence_save_errors
from ssl_jax.devices.processes import decide
from ssl_jax.training.state import TrainState

__all__ = ["Checkpointer"]


class Checkpointer:
    """The checkpoints of a run, which are written in the background while training continues.

    Use it as a context manager: on exit it waits for the current save. In a job of several
    processes, all must save at the same steps; the first process writes manifests and deletes.
    """

    def __init__(self, directory: Path, keep: int) -> None:
        """Set up the checkpoints of a workdir.

        Args:
            directory: The folder of the checkpoints, `checkpoints` in a workdir.
            keep: Number of complete checkpoints to keep, the newest ones; at least 1.
        """
        silence_save_errors()
        self._directory = directory.resolve()
        self._keep = max(keep, 1)
        self._is_first_process = jax.process_index() == 0
        self._saved_step: int | None = None  # by this process
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def __enter__(self) -> "Checkpointer":
        decide(self._make_directory)
        return self

    def __exit__(self, *error: object) -> None:
        self.wait()

    @property
    def newest(self) -> Path | None:
        """The newest valid checkpoint, the same on all processes; None if there is none."""
        name = decide(self._find_newest)
        return None if name is None else self._directory / name

    def _make_directory(self) -> None:
        with _convert_write_errors(self._directory):
            self._directory.mkdir(parents=True, exist_ok=True)
            for leftover in self._directory.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(leftover)

    def _find_newest(self) -> str | None:
        checkpoint = next(find_valid_checkpoints(self._directory), None)
        return checkpoint.name if checkpoint else None

    def find_complete(self) -> Path | None:
        """Find the newest complete checkpoint, as this process sees the folder, unchecked."""
        return next(filter(is_complete, list_checkpoints(self._directory)), None)

    def save(self, state: TrainState, position: dict[str, Any], card: dict[str, Any]) -> None:
        """Start saving; return once the state has been copied from the devices.

        A step that this process has saved is not saved again. If the run was restored from the
        checkpoint of this step, only its card is updated.

        Args:
            state: The state.
            position: Its position in the data and the log, as JSON.
            card: The model card, as JSON.

        Raises:
            UserError: If this or the previous checkpoint can't be written.
        """
        step = int(state.step)
        if step == self._saved_step:
            return
        self.wait()
        checkpoint = self._directory / str(step)
        # The run was restored from this checkpoint and has not taken a step since.
        if decide(partial(_update_card, checkpoint, card)):
            self._saved_step = step
            return
        with _convert_write_errors(checkpoint), orbax_context():
            response = ocp.save_checkpointables_async(
                checkpoint,
                {"state": state_to_dict(state), "data": position, "card": card},
                overwrite=True,  # a corrupt checkpoint of that step
            )
        self._saved_step = step
        self._thread = threading.Thread(target=self._finish, args=(response, checkpoint))
        self._thread.start()

    def wait(self) -> None:
        """Wait for the current save.

        Raises:
            UserError: If the checkpoint can't be written.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            with _convert_write_errors(self._directory / str(self._saved_step)):
                raise failure

    def _finish(self, response: Any, checkpoint: Path) -> None:
        """Wait for Orbax, write the manifest and delete old checkpoints, in the background."""
        try:
            response.result()
            if self._is_first_process:
                write_manifest(checkpoint)
                self._delete_old()
        except BaseException as failure:
            self._failure = failure

    def _delete_old(self) -> None:
        complete = [
            checkpoint
            for checkpoint in list_checkpoints(self._directory)
            if is_complete(checkpoint)
        ]
        if len(complete) > self._keep:
            oldest_kept = int(complete[self._keep - 1].name)
            for checkpoint in list_checkpoints(self._directory):
                if int(checkpoint.name) < oldest_kept:
                    shutil.rmtree(checkpoint)


def _update_card(checkpoint: Path, card: dict[str, Any]) -> bool:
    """Update the card of a checkpoint; return False if there is no such valid checkpoint."""
    if not is_complete(checkpoint) or find_corruption(checkpoint):
        return False
    text = json.dumps(card)
    # The metrics on the card are new if the state has been evaluated since.
    if json.dumps(load_card(checkpoint)) != text:
        with _convert_write_errors(checkpoint):
            replace_file(checkpoint, "card/data.json", text)
    return True


@contextlib.contextmanager
def _convert_write_errors(checkpoint: Path) -> Iterator[None]:
    """Convert the error of a full or read-only disk to a one-line error.

    Raises:
        UserError: If `checkpoint` can't be written.
    """
    try:
        yield
    except Exception as error:
        reason = _get_reason(error)
        if not reason:
            raise
        newest = next(find_valid_checkpoints(checkpoint.parent), None)
        state = f"the newest valid one is {newest}" if newest else "there is no valid one yet"
        raise UserError(
            f"checkpoint {checkpoint}: can't be written ({reason}); {state}: free some space and "
            "run the same command to resume, or choose another --workdir"
        ) from error


def _get_reason(error: BaseException) -> str:
    """Return the system's message if an error is about a file; otherwise empty."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return os_error_reason(error, UNWRITABLE)
