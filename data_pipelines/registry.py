"""From the name a user writes to a TFDS builder class and a config.

A name is one of

    demo_tiles, demo_tiles/CONFIG        a builder of this package
    mnist, coco/2017                     one registered with TFDS
    package.module, package.module:Class a user's own, importable
    path/to/builder.py, …:Class          a user's own, in a file

each with or without `/CONFIG` at its end.
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
from data_pipelines.private import skip_registration

__all__ = ["BUILDERS", "BuilderName", "find_builder"]

BUILDERS = {
    "demo_tiles": "data_pipelines.demo.tiles:DemoTiles",
    "demo_scenes": "data_pipelines.demo.scenes:DemoScenes",
    "demo_aerial": "data_pipelines.demo.aerial:DemoAerial",
    "demo_objects": "data_pipelines.demo.objects:DemoObjects",
    "bigearthnet": "data_pipelines.bigearthnet.bigearthnet:Bigearthnet",
    "potsdam": "data_pipelines.potsdam.potsdam:Potsdam",
    "geotiff_tiles": "data_pipelines.geotiff_tiles.geotiff_tiles:GeotiffTiles",
    "geotiff_masks": "data_pipelines.geotiff_masks.geotiff_masks:GeotiffMasks",
    "nasc_tg2": "data_pipelines.nasc_tg2.nasc_tg2:NascTg2",
    "eurosat": "data_pipelines.eurosat.eurosat:Eurosat",
    "class_folders": "data_pipelines.class_folders.class_folders:ClassFolders",
}

_NAME = re.compile(r"(?P<module>.+\.py|[^/:]+)(:(?P<cls>[^/:]+))?(/(?P<config>.+))?")


class BuilderName(NamedTuple):
    """What a dataset's name stands for.

    Attributes:
        builder: the builder's class.
        config: the name of its config; empty for a builder without configs.
    """

    builder: type[tfds.core.DatasetBuilder]
    config: str

    @property
    def folder(self) -> Path:
        """Where below a data directory TFDS puts the dataset's versions."""
        return Path(self.builder.name, self.config)

    @property
    def configs(self) -> tuple[str, ...]:
        """The names of the configs the builder defines."""
        return tuple(self.builder.builder_configs)


def find_builder(name: str) -> BuilderName:
    """The builder class and config a name stands for. A config need not be one the class defines.

    Raises:
        UserError: there is no such builder, or its module can't be imported.
    """
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise UserError(f"dataset {name!r}: expected NAME, NAME/CONFIG or package.module:Class")
    config = parts["config"] or ""
    if config and any(part in ("", ".", "..") for part in config.split("/")):
        raise UserError(
            f"dataset {name!r}: its config {config!r} is no name of a folder; expected a word or "
            "words with / between"
        )
    module, cls = parts["module"], parts["cls"]
    if module in BUILDERS:
        module, cls = BUILDERS[module].split(":")
    builder = _of_module(name, module, cls) if "." in module or cls else _of_tfds(name, module)
    default = builder.default_builder_config
    return BuilderName(builder, parts["config"] or (default.name if default else ""))


def _of_tfds(name: str, registered: str) -> type[tfds.core.DatasetBuilder]:
    try:
        return tfds.builder_cls(registered)
    except (ValueError, ImportError) as error:  # DatasetNotFoundError is a ValueError
        raise UserError(
            f"dataset {name!r}: no builder of that name; expected one of {', '.join(BUILDERS)}, "
            "one registered with TFDS, or package.module:Class of your own"
        ) from error


def _of_module(name: str, module: str, cls: str | None) -> type[tfds.core.DatasetBuilder]:
    members = vars(_import(name, module))
    own = {
        key: value
        for key, value in members.items()
        if inspect.isclass(value)
        and issubclass(value, tfds.core.DatasetBuilder)
        and not inspect.isabstract(value)
        and value.__module__ == members["__name__"]
    }
    if cls is None and len(own) == 1:
        return next(iter(own.values()))
    if cls not in own:
        raise UserError(
            f"dataset {name!r}: found {cls or 'no class named'} and in {module} the TFDS builders "
            f"{', '.join(own) or '(none)'}; expected {module}:Class with one of them"
        )
    return own[cls]


def _import(name: str, module: str) -> ModuleType:
    try:
        # Found by its module: TFDS's register of names would refuse a second builder of one name.
        with skip_registration():
            return _import_file(Path(module)) if module.endswith(".py") else _import_name(module)
    except Exception as error:  # whatever the user's module raises is the user's to see
        raise UserError(
            f"dataset {name!r}: {module} can't be imported ({type(error).__name__}: {error}); "
            "expected an importable module, or the path of a Python file"
        ) from error


def _import_name(module: str) -> ModuleType:
    return importlib.import_module(module)


def _import_file(file: Path) -> ModuleType:
    # Known under its path, so that TFDS finds the module of the class again, and imported once.
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
