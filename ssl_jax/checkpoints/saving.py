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

from data_pipelines.errors import UNWRITABLE, UserError, system_says
from ssl_jax.checkpoints.loading import as_dict, bundles_in, context, load_card, sound_bundles
from ssl_jax.checkpoints.manifest import damage, is_sealed, replace_file, seal
from ssl_jax.checkpoints.orbax_threads import quiet
from ssl_jax.devices.processes import gathered
from ssl_jax.training.state import TrainState

__all__ = ["Bundles"]


class Bundles:
    """The bundles of a run, written in the background while training goes on.

    Use as a context manager: leaving it waits for the save under way. In a job of several processes
    all must save at the same steps; the first one seals and deletes.

    Args:
        directory: of the bundles, `checkpoints` in a workdir.
        keep: how many sound ones are kept, the newest.

    """

    def __init__(self, directory: Path, keep: int) -> None:
        quiet()
        self._directory = directory.resolve()
        self._keep = max(keep, 1)
        self._leads = jax.process_index() == 0
        self._saved: int | None = None  # the newest step saved by this process
        self._sealing: threading.Thread | None = None
        self._failure: BaseException | None = None

    def __enter__(self) -> "Bundles":
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
        found = next(sound_bundles(self._directory), None) if self._leads else None
        name = gathered(found and found.name)[0]  # as the first process sees it
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
        bundle = self._directory / str(step)
        if is_sealed(bundle) and not damage(bundle):  # restored from it, and no step further
            text = json.dumps(card)
            if self._leads and json.dumps(load_card(bundle)) != text:  # it was evaluated since
                with _told(bundle):
                    replace_file(bundle, "card/data.json", text)
            self._saved = step
            return
        with _told(bundle), context():
            response = ocp.save_checkpointables_async(
                bundle,
                {"state": as_dict(state), "data": position, "card": card},
                overwrite=True,  # of a damaged bundle of that step
            )
        self._saved = step
        self._sealing = threading.Thread(target=self._seal, args=(response, bundle))
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

    def _seal(self, response: Any, bundle: Path) -> None:
        try:
            response.result()
            if self._leads:
                seal(bundle)
                self._delete_old()
        except BaseException as failure:
            self._failure = failure

    def _delete_old(self) -> None:
        sealed = [bundle for bundle in bundles_in(self._directory) if is_sealed(bundle)]
        if len(sealed) > self._keep:
            oldest_kept = int(sealed[self._keep - 1].name)
            for bundle in bundles_in(self._directory):
                if int(bundle.name) < oldest_kept:
                    shutil.rmtree(bundle)


@contextlib.contextmanager
def _told(bundle: Path) -> Iterator[None]:
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
        sound = next(sound_bundles(bundle.parent), None)
        left = f"the newest sound one is {sound}" if sound else "there is none yet"
        raise UserError(
            f"bundle {bundle}: can't be written ({reason}); {left}: make room or choose another "
            "--workdir, then the same command goes on"
        ) from error


def _reason(error: BaseException) -> str:
    """What the system said, if an error is about a file."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return system_says(error, UNWRITABLE)
