"""`potsdam`: aerial pictures of a town at 5 cm with masks of six classes (ISPRS 2D labelling).

38 tiles of 6000 × 6000 pixels, from the benchmark's own archives or the folders that somebody
unpacked them into.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data_pipelines.bands import POTSDAM
from data_pipelines.errors import UserError
from data_pipelines.files.paths import File, find_files, format_names
from data_pipelines.masked_images.blocks import BlockReader, MaskedImage
from data_pipelines.masked_images.dataset import make_dataset_info, make_grid, make_reading
from data_pipelines.masked_images.legends import ColourLegend
from data_pipelines.potsdam.nomenclature import CLASSES, COLOURS

__all__ = ["TEST", "TRAIN", "Potsdam", "PotsdamConfig"]

# The benchmark's own split: 24 tiles were published with labels, those of 14 were held back.
TRAIN = tuple(
    f"{row}_{column}"
    for row, first in ((2, 10), (3, 10), (4, 10), (5, 10), (6, 7), (7, 7))
    for column in range(first, 13)
)
TEST = tuple(
    f"{row}_{column}"
    for row, last in ((2, 14), (3, 14), (4, 15), (5, 15), (6, 15), (7, 13))
    for column in range(13, last + 1)
)

_SIDE = 6000  # of every tile, in pixels
_LABELS = ("all", "noBoundary")


@dataclass(eq=False, kw_only=True)
class PotsdamConfig(tfds.core.BuilderConfig):
    """Which tiles, what of them, and how windows lie on them.

    Attributes:
        bands: of the images: red, green, blue and, from the RGBIR files, nir.
        train: tiles of the split of that name, such as `2_10`.
        test: tiles of the split of that name.
        excluded_tiles: tiles of neither split after all; 7_10 is known for errors of annotation.
        labels: `all`, or `noBoundary`, whose masks leave out 3 pixels on either side of edges.
        excluded: classes whose pixels count as unlabelled.
        window: side of a window, in pixels.
        stride: from one window to the next, in pixels.
    """

    bands: tuple[str, ...]
    train: tuple[str, ...] = TRAIN
    test: tuple[str, ...] = TEST
    excluded_tiles: tuple[str, ...] = ()
    labels: str = "all"
    excluded: tuple[str, ...] = ()
    window: int = 600
    stride: int = 300

    @property
    def tiles(self) -> dict[str, tuple[str, ...]]:
        """The tiles of each split that has any."""
        splits = {"train": self.train, "test": self.test}
        kept = {
            split: tuple(tile for tile in tiles if tile not in self.excluded_tiles)
            for split, tiles in splits.items()
        }
        return {split: tiles for split, tiles in kept.items() if tiles}

    @property
    def classes(self) -> dict[str, tuple[int, int, int]]:
        """The classes that are labelled, with their colours."""
        every = dict(zip(CLASSES, COLOURS, strict=True))
        return {name: colour for name, colour in every.items() if name not in self.excluded}


class Potsdam(tfds.core.GeneratorBasedBuilder):
    """Tiles of Potsdam as cells, which windows of 600 pixels are put together from."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (
        PotsdamConfig(name="rgbn", bands=("red", "green", "blue", "nir")),
        PotsdamConfig(name="rgb", bands=("red", "green", "blue")),
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    4_Ortho_RGBIR.zip (or, without near infrared, 2_Ortho_RGB.zip) and 5_Labels_all.zip or
    5_Labels_all_noBoundary.zip of the ISPRS benchmark Potsdam; they may be unpacked, and need not
    be
    """

    @property
    def expected_examples(self) -> Mapping[str, int]:
        """Windows in each split."""
        config = self.builder_config
        windows = make_grid(config.window, config.stride).count(_SIDE) ** 2
        return {split: windows * len(tiles) for split, tiles in config.tiles.items()}

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        _check(config)
        return make_dataset_info(
            self,
            _reader(config),
            POTSDAM.select(config.bands),
            list(config.classes),
            list(config.classes.values()),
            {
                "tiles": {split: list(tiles) for split, tiles in config.tiles.items()},
                "labels": config.labels,
                "excluded": list(config.excluded),
            },
            homepage="https://www.isprs.org/resources/datasets/benchmarks/UrbanSemLab/",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config = self.builder_config
        pictures = _pictures(Path(dl_manager.manual_dir), config)
        return make_reading(pictures, _reader(config)).splits()

    def _generate_examples(self) -> Any:
        """Not asked for: `_split_generators` returns the examples."""


def _reader(config: PotsdamConfig) -> BlockReader:
    # 4_12_label was compressed with losses, to 24,850 colours, and the cars of 6_7_label are
    # (252, 255, 0). All colours of classes are corners of the colour cube: the nearest one counts.
    legend = ColourLegend(tuple(config.classes.values()), bits=1)
    return BlockReader(make_grid(config.window, config.stride), len(config.bands), "uint8", legend)


def _check(config: PotsdamConfig) -> None:
    if config.labels not in _LABELS:
        raise UserError(
            f"--config.labels: found {config.labels!r}; expected {' or '.join(_LABELS)}"
        )
    unknown = [name for name in config.excluded if name not in CLASSES]
    if unknown or not config.classes:
        found = repr(unknown[0]) if unknown else "every class"
        raise UserError(f"--config.excluded: found {found}; expected some of {', '.join(CLASSES)}")
    named = [*config.train, *config.test]
    strange = [tile for tile in config.excluded_tiles if tile not in named]
    if strange:
        raise UserError(
            f"--config.excluded_tiles: found {strange[0]!r}; expected tiles of --config.train and "
            f"--config.test, such as {format_names(named)}"
        )
    twice = [tile for tile in named if named.count(tile) > 1]
    if twice:
        raise UserError(
            f"--config.train, --config.test: tile {twice[0]} is named twice; expected each once"
        )
    if not config.tiles:
        raise UserError(
            "--config.train, --config.test: no tile is left; expected some, such as "
            f"--config.train={','.join(TRAIN[:2])}"
        )


def _pictures(folder: Path, config: PotsdamConfig) -> list[MaskedImage]:
    """The image and the mask of each tile.

    Raises:
        UserError: a tile lacks either.
    """
    there = _files(folder)
    pictures = []
    lacking: dict[str, str] = {}
    for split, tiles in config.tiles.items():
        for tile in tiles:
            images = [(name, bands) for name, bands in _images(tile, config) if name in there]
            mask = _mask(tile, config)
            if images and mask in there:
                name, bands = images[0]
                pictures.append(MaskedImage(tile, split, there[name], there[mask], bands))
            else:
                lacking[tile] = mask if images else _images(tile, config)[0][0]
    if lacking:
        raise _incomplete(folder, config, there, lacking)
    return pictures


def _images(tile: str, config: PotsdamConfig) -> list[tuple[str, int]]:
    """Names that the image of a tile may have, the preferred one first, with their bands."""
    colours = (f"top_potsdam_{tile}_RGB.tif", 3)
    all_bands = (f"top_potsdam_{tile}_RGBIR.tif", 4)
    return [all_bands] if "nir" in config.bands else [colours, all_bands]


def _mask(tile: str, config: PotsdamConfig) -> str:
    suffix = "" if config.labels == "all" else f"_{config.labels}"
    return f"top_potsdam_{tile}_label{suffix}.tif"


def _files(folder: Path) -> dict[str, File]:
    """The benchmark's files by name. An unpacked one is preferred to one in an archive."""
    found = find_files(folder, lambda name: name.startswith("top_potsdam_"))
    return {file.name: file for file in sorted(found, key=lambda f: bool(f.member), reverse=True)}


def _incomplete(
    folder: Path, config: PotsdamConfig, there: dict[str, File], lacking: dict[str, str]
) -> UserError:
    """What to say of tiles that lack a file: {tile: its name}."""
    if there:
        found = f"{len(there)} of the benchmark's files, such as {format_names(sorted(there), 2)}"
    else:
        others = find_files(folder, lambda name: True)
        found = format_names([file.relative for file in others])
        if any(file.member and file.suffix == ".zip" for file in others):
            found += " (unpack archives that hold archives)"
    kept = {
        split: ",".join(tile for tile in tiles if tile not in lacking)
        for split, tiles in {"train": (), "test": (), **config.tiles}.items()
    }
    choice = " ".join(f"--config.{split}={tiles}" for split, tiles in kept.items())
    if not any(kept.values()):
        choice = "--config.train=TILE,… --config.test=TILE,…"
    return UserError(
        f"folder {folder}: lacks {format_names(list(lacking.values()), 3)} of "
        f"{'tile' if len(lacking) == 1 else 'tiles'} {', '.join(lacking)}; found {found}; "
        f"get what is missing, or choose tiles with {choice} --config.name=NAME"
    )
