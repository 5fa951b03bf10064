"""Opening of prepared datasets."""

from collections.abc import Sequence
from pathlib import Path

import tensorflow_datasets as tfds

from data_pipelines.errors import UserError
from data_pipelines.files.paths import refuse_url
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
        name: Name of the builder, as in `registry.find_builder`: `demo_tiles`, `demo_tiles/small`,
            `package.module:Class`.
        data_dir: Directory that the dataset was prepared in.
        bands: Names or aliases of the bands to select, in order; empty for all bands.
        target: The feature to predict, such as `labels_43`; empty for the one named `label`,
            `labels` or `mask`.
        bad_records: How to handle unreadable records; by default they raise an error.

    Raises:
        UserError: If there is no such builder, band or target, or the dataset is not prepared in
            `data_dir` or has no usable `image`.
    """
    refuse_url(data_dir)
    folder = _find_newest_version(name, find_builder(name), Path(data_dir))
    return open_folder(folder, name, bands, target, bad_records)


def open_folder(
    folder: Path,
    name: str,
    bands: Sequence[str] = (),
    target: str = "",
    bad_records: BadRecords | None = None,
) -> Dataset:
    """Open the dataset in a folder.

    Args:
        folder: Folder with TFDS's `dataset_info.json`.
        name: See `open_dataset`.
        bands: See `open_dataset`.
        target: See `open_dataset`.
        bad_records: See `open_dataset`.

    Raises:
        UserError: If there is no such band or target, no usable `image`, or no band statistics.
    """
    info = tfds.builder_from_directory(folder).info
    sensor = check_usable(name, info)
    if not sensor.measured:
        raise UserError(
            f"dataset {name}: has no mean and standard deviation of its bands; compute them with "
            f"python -m data_pipelines.build {name}"
        )
    splits = {split: size.num_examples for split, size in info.splits.items()}
    return make_dataset(name, info, sensor, splits, bands, target, bad_records)


def is_prepared(name: str, data_dir: str | Path) -> bool:
    """Return whether a dataset of that name is prepared in a directory.

    Args:
        name: See `open_dataset`.
        data_dir: See `open_dataset`.

    Raises:
        UserError: If there is no such builder.
    """
    return bool(_find_versions(find_builder(name), Path(data_dir)))


def _find_newest_version(name: str, builder: BuilderName, data_dir: Path) -> Path:
    """Return the folder of the newest prepared version."""
    if versions := _find_versions(builder, data_dir):
        return max(versions, key=lambda version: tfds.core.Version(version.name))
    if builder.config and builder.configs and builder.config not in builder.configs:
        raise UserError(
            f"dataset {name}: has no config {builder.config!r}; expected one of "
            + ", ".join(builder.configs)
        )
    raise UserError(
        f"dataset {name}: is not prepared in {data_dir}; run {build_command(name, data_dir)}"
    )


def _find_versions(builder: BuilderName, data_dir: Path) -> list[Path]:
    """Return the folders of all prepared versions."""
    folder = data_dir.expanduser() / builder.folder
    versions = [info.parent for info in folder.glob("*/dataset_info.json")]
    return [version for version in versions if tfds.core.Version.is_valid(version.name)]
