"""Maps of whole scenes: `python -m ssl_jax.predict --checkpoint W SCENE… --out FOLDER`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from data_pipelines.errors import UserError
from data_pipelines.profiles.findings import check_accepted
from ssl_jax import terminal
from ssl_jax.checkpoints.finding import find_newest_checkpoint

if TYPE_CHECKING:
    from data_pipelines.scenes import Scene
    from ssl_jax.prediction import SceneMap

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ssl_jax.predict",
        description=(
            "Map scenes of any size with a segmentation checkpoint: classes.tif and confidence.tif "
            "(Cloud Optimized GeoTIFFs), areas.csv and areas.json, quicklook.png. The checkpoint's "
            "model card says which bands and values the network needs. Given again, the command "
            "goes on with what is unfinished."
        ),
    )
    parser.add_argument(
        "scenes",
        nargs="+",
        metavar="SCENE",
        help="file that GDAL can read, Sentinel-2 product (.SAFE), or folder with a file per band",
    )
    parser.add_argument("--checkpoint", required=True, help="workdir, or a checkpoints/<step>")
    parser.add_argument(
        "--out", required=True, help="folder of the map; of several scenes, a folder for each in it"
    )
    _add_sliding_window_arguments(parser)
    _add_image_arguments(parser)
    args = parser.parse_args(argv)
    check_accepted(args.accept, "--accept")
    find_newest_checkpoint(Path(args.checkpoint))  # an error, if there is none
    return _predict(args)


def _add_sliding_window_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "sliding window",
        "The logits of overlapping windows are blended; the default is the config's.",
    )
    group.add_argument("--window", type=int, default=0, help="side of a window, in pixels")
    group.add_argument("--stride", type=int, default=0, help="distance of windows, in pixels")
    group.add_argument(
        "--flips",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="average over the flips of each window",
    )


def _add_image_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "pixels of the scenes",
        "A sample of them is compared with what the network learned before anything is computed.",
    )
    group.add_argument(
        "--bands",
        default="",
        help="names of the files' bands in their order, such as red,green,blue,nir (default: as "
        "the files describe them)",
    )
    group.add_argument(
        "--nodata", default="", help="value of pixels without data, or none (default: the files')"
    )
    terminal.add_value_arguments(group, scale="the files'", offset="the files'", record="map.json")
    group.add_argument(
        "--resample",
        action="store_true",
        help="read the scenes at the resolution that the network learned",
    )


def _predict(args: argparse.Namespace) -> int:
    # Imported after the arguments were checked: see `terminal`.
    from data_pipelines.scenes import open_scene
    from ssl_jax.prediction import make_scene_mapper, open_map_model

    model = open_map_model(args.checkpoint, args.window, args.stride, args.flips)
    sensor = model.card.sensor
    if args.resample and not sensor.resolution:
        raise UserError(
            f"--resample: the model card of {args.checkpoint} has no resolution; expected one: "
            "resample the scene yourself"
        )
    conversion = terminal.read_conversion(args)
    scenes = [
        open_scene(
            path,
            sensor,
            args.bands.split(",") if args.bands else (),
            conversion,
            args.nodata,
            sensor.resolution if args.resample else 0.0,
        )
        for path in args.scenes
    ]
    map_scene = make_scene_mapper(model, args.accept)
    for scene, folder in zip(scenes, _choose_folders(scenes, Path(args.out)), strict=True):
        _print_scene(scene)
        _print_map(map_scene(scene, folder), scene)
    return 0


def _choose_folders(scenes: "Sequence[Scene]", out: Path) -> list[Path]:
    """Return the folder of each scene's map.

    Raises:
        UserError: If two scenes have the same name.
    """
    names = [scene.name for scene in scenes]
    if len(names) == 1:
        return [out]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"scene {name}: found twice; expected names that differ, which their folders in "
                f"{out} get: give one of them in a command of its own"
            )
    return [out / name for name in names]


def _print_scene(scene: "Scene") -> None:
    print(f"scene {scene.name}: {scene.height} × {scene.width} pixels")
    for subject, details in scene.found:
        print(f"  {subject}: {details}")


def _print_map(made: "SceneMap", scene: "Scene") -> None:
    """Print the areas of a map as a table, and how long it took."""
    areas = made.areas
    table = Table("class", "pixels", "hectares", "%", title=str(made.folder))
    for column in table.columns[1:]:
        column.justify = "right"
    for area in (*areas.classes, areas.nodata):
        hectares = f"{area.hectares:,.2f}" if areas.is_placed else ""
        table.add_row(area.name, f"{area.pixels:,}", hectares, f"{area.percent:.2f}")
    Console().print(table)
    if not areas.is_placed:
        print("the scene doesn't say where on the Earth it is, so that areas are in pixels only")
    if not made.seconds:
        print("the map was complete already")
    elif areas.is_placed:
        total = sum(area.hectares for area in (*areas.classes, areas.nodata)) / 100
        print(f"{total:.3g} km² in {made.seconds:.1f} s, {total / made.seconds:.3g} km²/s")
    else:
        print(f"{made.seconds:.1f} s, {scene.height * scene.width / made.seconds:,.0f} pixels/s")


if __name__ == "__main__":
    terminal.run_command(main)
