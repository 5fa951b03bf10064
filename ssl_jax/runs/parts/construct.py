"""From a section of a config to the call of a constructor.

A section names a constructor and its keyword arguments; a field the constructor does not have is an
error that names it.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from data_pipelines.errors import UserError

__all__ = ["choose", "construct"]


def construct(
    constructor: Callable[..., Any], section: Mapping[str, Any], where: str, **given: Any
) -> Any:
    """Call `constructor` with the fields of a config section, except `name`, and with `given`.

    Raises:
        UserError: a field the constructor doesn't take, or one it needs and isn't there.
    """
    fields = {name: value for name, value in section.items() if name != "name"}
    parameters = inspect.signature(constructor).parameters
    accepted = [name for name in parameters if name not in {"parent", "name", *given}]
    takes_more = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in fields:
        if name not in accepted and not takes_more:
            near = difflib.get_close_matches(name, accepted, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it takes: {', '.join(accepted)}"
            raise UserError(f"config.{where}.{name}: no such field; {hint}")
    try:
        return constructor(**{name: _plain(value) for name, value in fields.items()}, **given)
    except TypeError as error:
        raise UserError(f"config.{where}: {error}") from error
    except ValueError as error:
        raise UserError(f"config.{where}: {error}") from error


def _plain(value: Any) -> Any:
    return value.to_dict() if isinstance(value, ConfigDict) else value


def choose(choices: Mapping[str, Any], section: Mapping[str, Any], where: str) -> Any:
    """The entry of `choices` that a section's `name` stands for.

    Raises:
        UserError: there is none.
    """
    name = section.get("name", "")
    if name not in choices:
        raise UserError(
            f"config.{where}.name: found {name!r}; expected one of {', '.join(choices)}"
        )
    return choices[name]
