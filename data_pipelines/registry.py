"""Lookup of TFDS builder classes and configs by dataset name.

A name is one of

    demo_tiles, demo_tiles/CONFIG        a builder of this package
    mnist, coco/2017                     a builder registered with TFDS
    package.module, package.module:Class a builder in an importable module
    path/to/builder.py, …:Class          a builder in a Python file

each optionally followed by `/CONFIG`.
"""

import importlib
import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import tensorflow_datasets as tfds

from data_pipelines.errors import UserError
from data_pipelines.names import BUILDERS
from data_pipelines.private import skip_registration

__all__ = ["BuilderName", "find_builder"]

_NAME = re.compile(r"(?P<module>.+\.py|[^/:]+)(:(?P<cls>[^/:]+))?(/(?P<config>.+))?")


class BuilderName(NamedTuple):
    """The builder and config that a dataset name refers to.

    Attributes:
        builder: The builder's class.
        config: The name of its config; empty for a builder without configs.
    """

    builder: type[tfds.core.DatasetBuilder]
    config: str

    @property
    def folder(self) -> Path:
        """The folder of the dataset's versions, relative to the data directory."""
        return Path(self.builder.name, self.config)

    @property
    def configs(self) -> tuple[str, ...]:
        """The names of the configs that the builder defines."""
        return tuple(self.builder.builder_configs)


def find_builder(name: str) -> BuilderName:
    """Find the builder class and config that a name refers to.

    The config need not be one that the class defines.

    Args:
        name: Dataset name, in one of the forms listed in this module's docstring.

    Raises:
        UserError: If there is no such builder, or its module can't be imported.
    """
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise UserError(f"dataset {name!r}: expected NAME, NAME/CONFIG or package.module:Class")
    config = parts["config"] or ""
    if config and any(part in ("", ".", "..") for part in config.split("/")):
        raise UserError(
            f"dataset {name!r}: config {config!r} is not a valid folder name; expected one or more "
            "words separated by /"
        )
    module, cls = parts["module"], parts["cls"]
    if module in BUILDERS:
        module, cls = BUILDERS[module].split(":")
    if "." in module or cls:
        builder = _load_builder_from_module(name, module, cls)
    else:
        builder = _load_registered_builder(name, module)
    default = builder.default_builder_config
    return BuilderName(builder, parts["config"] or (default.name if default else ""))


def _load_registered_builder(name: str, registered: str) -> type[tfds.core.DatasetBuilder]:
    try:
        return tfds.builder_cls(registered)
    except (ValueError, ImportError) as error:  # DatasetNotFoundError is a ValueError
        raise UserError(
            f"dataset {name!r}: no builder has that name; expected one of {', '.join(BUILDERS)}, "
            "a builder registered with TFDS, or package.module:Class of your own"
        ) from error


def _load_builder_from_module(
    name: str, module: str, cls: str | None
) -> type[tfds.core.DatasetBuilder]:
    members = vars(_import_module(name, module))
    builders = {
        key: value
        for key, value in members.items()
        if inspect.isclass(value)
        and issubclass(value, tfds.core.DatasetBuilder)
        and not inspect.isabstract(value)
        and value.__module__ == members["__name__"]
    }
    if cls is None and len(builders) == 1:
        return next(iter(builders.values()))
    if cls not in builders:
        raise UserError(
            f"dataset {name!r}: found {f'class {cls}' if cls else 'no class name'}, and in "
            f"{module} the TFDS builders {', '.join(builders) or '(none)'}; expected "
            f"{module}:Class with one of them"
        )
    return builders[cls]


def _import_module(name: str, module: str) -> ModuleType:
    try:
        # TFDS's registry would reject a second builder of the same name.
        with skip_registration():
            if module.endswith(".py"):
                return _import_file(Path(module))
            return importlib.import_module(module)
    except Exception as error:  # a user's module can raise anything
        raise UserError(
            f"dataset {name!r}: {module} can't be imported ({type(error).__name__}: {error}); "
            "expected an importable module, or the path of a Python file"
        ) from error


def _import_file(file: Path) -> ModuleType:
    # The module is registered under its path, so that TFDS finds the class's module and the file is
    # imported only once.
    key = re.sub(r"\W", "_", str(file.resolve().with_suffix("")))
    if key not in sys.modules:
        spec = importlib.util.spec_from_file_location(key, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[key] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[key]
            raise
    return sys.modules[key]
