"""`potsdam`: aerial images of a town at 5 cm with masks of six classes (ISPRS 2D labelling).

38 tiles of 6000 × 6000 pixels, read from the benchmark's archives or from the folders that they
were unpacked to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data_pipelines.bands import POTSDAM
from data_pipelines.errors import UserError
from data_pipelines.files.paths import File, find_files, format_names
from data_pipelines.imagery.pixels import PixelFormat
from data_pipelines.masked_images.blocks import BlockReader, MaskedImage
from data_pipelines.masked_images.dataset import make_dataset_info, make_grid, make_reading
from data_pipelines.masked_images.legends import ColourLegend
from data_pipelines.potsdam.nomenclature import CLASSES, COLOURS

__all__ = ["TEST", "TRAIN", "Potsdam", "PotsdamConfig"]

# The benchmark's split: 24 tiles were published with labels; the labels of 14 were held back.
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

_TILE_SIZE = 6000  # height and width of every tile, in pixels
_LABELS = ("all", "noBoundary")


@dataclass(eq=False, kw_only=True)
class PotsdamConfig(tfds.core.BuilderConfig):
    """The tiles to read, their bands and classes, and the layout of windows.

    Attributes:
        bands: Bands of the images: red, green, blue and, from the RGBIR files, nir.
        train: Tiles of the split `train`, such as `2_10`.
        test: Tiles of the split `test`.
        excluded_tiles: Tiles to remove from both splits; 7_10 is known for annotation errors.
        labels: `all`, or `noBoundary`, whose masks ignore 3 pixels on either side of edges.
        excluded: Classes whose pixels become unlabelled.
        window: Side of a window, in pixels.
        stride: Distance from one window to the next, in pixels.
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
        """The labelled classes, with their colours."""
        all_classes = dict(zip(CLASSES, COLOURS, strict=True))
        return {name: colour for name, colour in all_classes.items() if name not in self.excluded}


class Potsdam(tfds.core.GeneratorBasedBuilder):
    """Tiles of Potsdam as blocks, which are joined to windows of 600 pixels."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (
        PotsdamConfig(name="rgbn", bands=("red", "green", "blue", "nir")),
        PotsdamConfig(name="rgb", bands=("red", "green", "blue")),
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    4_Ortho_RGBIR.zip (or, without near infrared, 2_Ortho_RGB.zip) and 5_Labels_all.zip or
    5_Labels_all_noBoundary.zip of the ISPRS benchmark Potsdam, unpacked or not
    """

    @property
    def expected_examples(self) -> Mapping[str, int]:
        """Number of windows in each split."""
        config = self.builder_config
        windows = make_grid(config.window, config.stride).count_windows(_TILE_SIZE) ** 2
        return {split: windows * len(tiles) for split, tiles in config.tiles.items()}

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        _check_config(config)
        return make_dataset_info(
            self,
            _make_reader(config),
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
        images = _find_images(Path(dl_manager.manual_dir), config)
        return make_reading(images, _make_reader(config)).splits()

    def _generate_examples(self) -> Any:
        """Not used: `_split_generators` returns the examples."""


def _make_reader(config: PotsdamConfig) -> BlockReader:
    # 4_12_label has 24,850 colours due to lossy compression, and the cars of 6_7_label are
    # (252, 255, 0). As the class colours are corners of the colour cube, one bit of each channel
    # identifies the nearest.
    legend = ColourLegend(tuple(config.classes.values()), bits=1)
    grid = make_grid(config.window, config.stride)
    return BlockReader(grid, PixelFormat(config.bands, "uint8"), legend)


def _check_config(config: PotsdamConfig) -> None:
    if config.labels not in _LABELS:
        raise UserError(
            f"--config.labels: found {config.labels!r}; expected {' or '.join(_LABELS)}"
        )
    unknown = [name for name in config.excluded if name not in CLASSES]
    if unknown or not config.classes:
        found = repr(unknown[0]) if unknown else "every class"
        raise UserError(f"--config.excluded: found {found}; expected some of {', '.join(CLASSES)}")
    tiles = [*config.train, *config.test]
    unknown_tiles = [tile for tile in config.excluded_tiles if tile not in tiles]
    if unknown_tiles:
        raise UserError(
            f"--config.excluded_tiles: found {unknown_tiles[0]!r}; expected tiles of "
            f"--config.train and --config.test, such as {format_names(tiles)}"
        )
    duplicates = [tile for tile in tiles if tiles.count(tile) > 1]
    if duplicates:
        raise UserError(
            f"--config.train, --config.test: found tile {duplicates[0]} twice; expected each once"
        )
    if not config.tiles:
        raise UserError(
            "--config.train, --config.test: found no tiles; expected at least one, such as "
            f"--config.train={','.join(TRAIN[:2])}"
        )


def _find_images(folder: Path, config: PotsdamConfig) -> list[MaskedImage]:
    """Find the image and the mask of each tile.

    Raises:
        UserError: If a tile lacks either.
    """
    files = _find_benchmark_files(folder)
    images = []
    missing: dict[str, str] = {}
    for split, tiles in config.tiles.items():
        for tile in tiles:
            names = [name for name in _image_names(tile, config) if name in files]
            mask = _mask_name(tile, config)
            if names and mask in files:
                images.append(MaskedImage(tile, split, files[names[0]], files[mask]))
            else:
                missing[tile] = mask if names else _image_names(tile, config)[0]
    if missing:
        raise _make_missing_files_error(folder, config, files, missing)
    return images


def _image_names(tile: str, config: PotsdamConfig) -> list[str]:
    """Return the possible names of a tile's image, preferred first."""
    rgb, rgbir = (f"top_potsdam_{tile}_{bands}.tif" for bands in ("RGB", "RGBIR"))
    return [rgbir] if "nir" in config.bands else [rgb, rgbir]


def _mask_name(tile: str, config: PotsdamConfig) -> str:
    suffix = "" if config.labels == "all" else f"_{config.labels}"
    return f"top_potsdam_{tile}_label{suffix}.tif"


def _find_benchmark_files(folder: Path) -> dict[str, File]:
    """Find the benchmark's files by name; unpacked files take precedence over archived ones."""
    files = find_files(folder, lambda name: name.startswith("top_potsdam_"))
    return {file.name: file for file in sorted(files, key=lambda f: bool(f.member), reverse=True)}


def _make_missing_files_error(
    folder: Path, config: PotsdamConfig, files: dict[str, File], missing: dict[str, str]
) -> UserError:
    """Make the error for missing files, {tile: file name}, with the fields that select the rest."""
    if files:
        names = format_names(sorted(files), 2)
        found = f"{len(files)} of the benchmark's files, such as {names}"
    else:
        others = find_files(folder, lambda name: True)
        found = format_names([file.relative for file in others])
        if any(file.member and file.suffix == ".zip" for file in others):
            found += " (unpack archives that contain archives)"
    complete = {
        split: ",".join(tile for tile in tiles if tile not in missing)
        for split, tiles in {"train": (), "test": (), **config.tiles}.items()
    }
    fields = " ".join(f"--config.{split}={tiles}" for split, tiles in complete.items())
    if not any(complete.values()):
        fields = "--config.train=TILE,… --config.test=TILE,…"
    return UserError(
        f"folder {folder}: lacks {format_names(list(missing.values()), 3)} of "
        f"{'tile' if len(missing) == 1 else 'tiles'} {', '.join(missing)}; found {found}; "
        f"add the missing files, or select tiles with {fields} --config.name=NAME"
    )
