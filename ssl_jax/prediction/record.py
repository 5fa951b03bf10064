"""The record of an output folder, which says what map it is for and whether that is complete.

`map.json` is written before the first block, so that a command that is given again goes on with the
map, and a command for another scene or model doesn't touch it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_pipelines.errors import UserError
from data_pipelines.files.writing import write_json
from ssl_jax.maps.blocks import explain_write_error

__all__ = ["RECORD", "begin_record", "finish_record"]

RECORD = "map.json"


def begin_record(folder: Path, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Claim a folder for a map.

    Args:
        folder: The folder; created if it does not exist.
        request: What determines the map, as JSON types, by subject such as `scene` or `model`.

    Returns:
        The record of the map, if it is complete already, else None.

    Raises:
        UserError: If the folder holds another map or other files, or can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / RECORD).exists():
            record = json.loads((folder / RECORD).read_text())
            _check_request(folder, record["request"], json.loads(json.dumps(request)))
            return record if record["complete"] else None
        if others := sorted(path.name for path in folder.iterdir()):
            raise UserError(
                f"folder {folder}: holds {others[0]} and no {RECORD}; expected an empty folder: "
                "choose another one"
            )
        write_json(folder / RECORD, {"complete": False, "request": request})
    except OSError as error:
        raise explain_write_error(folder, error) from error
    return None


def finish_record(
    folder: Path, request: Mapping[str, Any], results: Mapping[str, Any]
) -> dict[str, Any]:
    """Record that a map is complete, and return its record.

    Args:
        folder: The folder of the map.
        request: As for `begin_record`.
        results: What to record besides, as JSON types.

    Raises:
        UserError: If it can't be written.
    """
    record = {"complete": True, "request": dict(request), **results}
    try:
        write_json(folder / RECORD, record)
    except OSError as error:
        raise explain_write_error(folder, error) from error
    return record


def _check_request(folder: Path, found: Mapping[str, Any], request: Mapping[str, Any]) -> None:
    for subject in {**found, **request}:
        own, other = found.get(subject), request.get(subject)
        if own == other:
            continue
        if isinstance(own, Mapping) and isinstance(other, Mapping):
            field = next(name for name in {**own, **other} if own.get(name) != other.get(name))
            own, other, subject = own.get(field), other.get(field), f"{subject}'s {field}"
        raise UserError(
            f"folder {folder}: holds a map with {subject} {own}; this one has {other}: choose "
            "another folder, or delete that one"
        )
