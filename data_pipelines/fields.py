"""Parsing of config fields from the command line."""

import ast
import dataclasses
import difflib
import re
from collections.abc import Iterable
from typing import Any

from data_pipelines.errors import UserError

__all__ = ["parse_value", "replace_fields"]


def parse_value(kind: type, text: str, path: str) -> Any:
    """Parse a value of type `kind`.

    Args:
        kind: Type of the field. A tuple is written `('a', 'b')` or `a,b`.
        text: Text of the value.
        path: Path of the field, for error messages.

    Raises:
        UserError: If `text` is not a value of type `kind`.
    """
    if kind is str:
        return text
    # Python would parse a name such as 2_10 as the number 210.
    is_name = kind is tuple and re.search(r"\d_\d", text) and not re.search(r"['\"]", text)
    try:
        value: Any = (
            text if is_name else ast.literal_eval(text.capitalize() if kind is bool else text)
        )
    except (ValueError, SyntaxError):
        value = text
    if kind is float and type(value) is int:
        value = float(value)
    if kind is tuple and isinstance(value, list):
        value = tuple(value)
    if kind is tuple and not isinstance(value, tuple):
        value = tuple(part.strip() for part in text.strip("()[]").split(",") if part.strip())
    if type(value) is not kind:
        raise UserError(
            f"--config.{path}: found {text!r}; expected a value of type {kind.__name__}"
        )
    return value


def replace_fields(config: Any, assignments: Iterable[str], what: str) -> Any:
    """Return a copy of a dataclass with some fields replaced.

    Args:
        config: The dataclass instance.
        assignments: `FIELD=VALUE` each; the value is parsed as the type of the field's present one.
        what: Name of the dataclass, for error messages.

    Raises:
        UserError: If there is no such field, or the value is not of its type.
    """
    types = {field.name: field.type for field in dataclasses.fields(config)}
    fields = list(types)
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"--config.{name}: has no value; expected --config.{name}=VALUE")
        if name not in fields:
            matches = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {matches[0]}?" if matches else f"it has: {', '.join(fields)}"
            raise UserError(f"--config.{name}: {what} has no field {name!r}; {hint}")
        value = parse_value(type(getattr(config, name)), text, name)
        if types[name] == tuple[str, ...]:  # names that look like numbers stay names
            value = tuple(str(part) for part in value)
        if types[name] == tuple[int, ...]:  # a single number is text so far
            value = tuple(int(p) if re.fullmatch(r"-?\d+", str(p)) else p for p in value)
        values[name] = value
    return dataclasses.replace(config, **values)
