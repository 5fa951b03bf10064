"""Opening a dataset that has been prepared."""

from collections.abc import Sequence
from pathlib import Path

import tensorflow_datasets as tfds

from data_pipelines.errors import UserError
from data_pipelines.registry import BuilderName, find_builder
from data_pipelines.sources.bad_records import BadRecords
from data_pipelines.sources.dataset import Dataset, build_command, check_usable, make_dataset

__all__ = ["is_prepared", "open_dataset", "open_folder"]


def open_dataset(
    name: str,
    data_dir: str | Path,
    bands: Sequence[str] = (),
    target: str = "",
    bad_records: BadRecords | None = None,
) -> Dataset:
    """Open a prepared dataset.

    Args:
        name: of the builder, as `registry.find_builder` takes it: `demo_tiles`, `demo_tiles/small`,
            `package.module:Class`.
        data_dir: where the dataset was prepared.
        bands: names or aliases of the bands wanted, in the order wanted; empty for all it has.
        target: the feature to learn, such as `labels_43`; empty for the one named `label`, `labels`
            or `mask`.
        bad_records: what is done about records that can't be read; by default they are mistakes.

    Raises:
        UserError: no such builder, not prepared in `data_dir`, no usable `image`, or no such band.
    """
    folder = _prepared(name, find_builder(name), Path(data_dir))
    return open_folder(folder, name, bands, target, bad_records)


def open_folder(
    folder: Path,
    name: str,
    bands: Sequence[str] = (),
    target: str = "",
    bad_records: BadRecords | None = None,
) -> Dataset:
    """Open the dataset in a folder that holds TFDS's `dataset_info.json`; see `open_dataset`."""
    info = tfds.builder_from_directory(folder).info
    sensor = check_usable(name, info)
    if not sensor.measured:
        raise UserError(
            f"dataset {name}: does not say the mean and the standard deviation of its bands; "
            f"python -m data_pipelines.build {name} measures them"
        )
    splits = {split: size.num_examples for split, size in info.splits.items()}
    return make_dataset(name, info, sensor, splits, bands, target, bad_records)


def is_prepared(name: str, data_dir: str | Path) -> bool:
    """Whether `open_dataset` would find a dataset of that name.

    Raises:
        UserError: there is no such builder.
    """
    return bool(_versions(find_builder(name), Path(data_dir)))


def _prepared(name: str, found: BuilderName, data_dir: Path) -> Path:
    """The folder of the newest prepared version."""
    if versions := _versions(found, data_dir):
        return max(versions, key=lambda version: tfds.core.Version(version.name))
    if found.config and found.configs and found.config not in found.configs:
        raise UserError(
            f"dataset {name}: has no config {found.config!r}; expected one of "
            + ", ".join(found.configs)
        )
    raise UserError(
        f"dataset {name}: is not prepared in {data_dir}; run {build_command(name, data_dir)}"
    )


def _versions(found: BuilderName, data_dir: Path) -> list[Path]:
    """The folders of all prepared versions."""
    folder = data_dir.expanduser() / found.folder
    versions = [info.parent for info in folder.glob("*/dataset_info.json")]
    return [version for version in versions if tfds.core.Version.is_valid(version.name)]
