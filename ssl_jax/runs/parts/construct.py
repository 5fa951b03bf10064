"""Calls of constructors with the sections of a config.

A section has the name of a constructor and its keyword arguments. A field that the constructor
doesn't have is an error that names the field.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from data_pipelines.errors import UserError

__all__ = ["choose", "construct"]


def construct(
    constructor: Callable[..., Any], section: Mapping[str, Any], path: str, **arguments: Any
) -> Any:
    """Call a constructor with the fields of a config section, except `name`.

    Args:
        constructor: The constructor.
        section: Its keyword arguments; sections in it become dicts.
        path: Dotted path of the section in the config, for error messages.
        **arguments: Further keyword arguments, which the section can't set.

    Returns:
        What the constructor returns.

    Raises:
        UserError: If the section has a field that the constructor doesn't take, lacks one that it
            requires, or has a value that it rejects.
    """
    fields = {name: value for name, value in section.items() if name != "name"}
    parameters = inspect.signature(constructor).parameters
    accepted = [name for name in parameters if name not in {"parent", "name", *arguments}]
    accepts_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in fields:
        if name not in accepted and not accepts_any:
            near = difflib.get_close_matches(name, accepted, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(accepted)}"
            raise UserError(f"config.{path}.{name}: no such field; {hint}")
    fields = {name: _to_builtin(value) for name, value in fields.items()}
    try:
        return constructor(**fields, **arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"config.{path}: {error}") from error


def _to_builtin(value: Any) -> Any:
    return value.to_dict() if isinstance(value, ConfigDict) else value


def choose(choices: Mapping[str, Any], section: Mapping[str, Any], path: str) -> Any:
    """Return the entry of `choices` that a config section names.

    Args:
        choices: The entries by name.
        section: The section, with a field `name`.
        path: Dotted path of the section in the config, for error messages.

    Raises:
        UserError: If there is no entry of that name.
    """
    name = section.get("name", "")
    if name not in choices:
        raise UserError(f"config.{path}.name: found {name!r}; expected one of {', '.join(choices)}")
    return choices[name]
