"""Finding the newest valid checkpoint of a folder.

Only files are looked at, so that the commands refuse a folder without importing JAX.
"""

from collections.abc import Iterator
from pathlib import Path

from data_pipelines.errors import UserError, warn_once
from data_pipelines.files.paths import refuse_url
from ssl_jax.checkpoints.manifest import find_corruption, is_complete

__all__ = ["find_newest_checkpoint", "find_valid_checkpoints", "list_checkpoints"]


def find_newest_checkpoint(path: Path) -> Path:
    """Find the newest valid checkpoint; corrupt ones are reported on stderr.

    Args:
        path: A workdir, its folder `checkpoints`, or a checkpoint, which is returned itself.

    Raises:
        UserError: If `path` is a URL, or there is no checkpoint at it, or none that is valid.
    """
    refuse_url(path)
    for folder in (path / "checkpoints", path):
        if checkpoint := next(find_valid_checkpoints(folder), None):
            return checkpoint
    if _is_checkpoint(path):
        if problem := is_complete(path) and find_corruption(path):
            raise UserError(
                f"checkpoint {path}: is corrupt ({problem}); expected unchanged files: copy it "
                "again, or use another checkpoint"
            )
        return path
    if not path.exists():
        reason = "no such folder"
    elif any(list_checkpoints(folder) for folder in (path / "checkpoints", path)):
        reason = "all of its checkpoints are corrupt"
    else:
        reason = "no checkpoints/<step> with a card in it"
    raise UserError(
        f"{path} holds no checkpoint: {reason}; expected the workdir of a run of "
        "`python -m ssl_jax.train`, or one of its checkpoints/<step> folders"
    )


def find_valid_checkpoints(directory: Path) -> Iterator[Path]:
    """Yield the valid checkpoints of a directory, the newest first; report corrupt ones on stderr.

    Checkpoints without a manifest, left by a process that was killed before it wrote one or by an
    interrupted copy, are only used if no checkpoint has a manifest.

    Args:
        directory: The folder `checkpoints` of a workdir.
    """
    checkpoints = list_checkpoints(directory)
    for checkpoint in checkpoints:
        if not is_complete(checkpoint):
            continue
        problem = find_corruption(checkpoint)
        if not problem:
            yield checkpoint
        else:
            warn_once(f"checkpoint {checkpoint} is corrupt: {problem}; skipped")
    if not any(is_complete(checkpoint) for checkpoint in checkpoints):
        yield from checkpoints


def list_checkpoints(directory: Path) -> list[Path]:
    """List the checkpoints of a directory, valid or not, the newest first."""
    steps = [path for path in directory.glob("*") if path.name.isdigit() and _is_checkpoint(path)]
    return sorted(steps, key=lambda path: int(path.name), reverse=True)


def _is_checkpoint(path: Path) -> bool:
    return (path / "card").is_dir() and (path / "state").is_dir()
