"""Planning of a sample of a map."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ssl_jax.estimation.classified import ClassMap, count_cells
from ssl_jax.estimation.files.pictures import write_pictures
from ssl_jax.estimation.files.sample import (
    STRATA,
    Sample,
    describe_place,
    make_strata,
    refuse_sample,
    write_sample,
)
from ssl_jax.estimation.regions import Regions
from ssl_jax.estimation.sampling import Allocation, allocate, draw_places

__all__ = ["Plan", "plan_sample"]


@dataclass(frozen=True)
class Plan:
    """How a sample is drawn.

    Attributes:
        samples: Number of places.
        allocation: How they are distributed over the strata.
        minimum: Smallest number in a stratum.
        accuracies: For `neyman`, expected user's accuracies by class value.
        seed: Seed.
    """

    samples: int
    allocation: Allocation = "proportional"
    minimum: int = 30
    accuracies: Mapping[int, float] | None = None
    seed: int = 0


def plan_sample(
    class_map: ClassMap, regions: Regions, plan: Plan, folder: Path, scene: Path | None = None
) -> Sample:
    """Draw a sample of a map, and write it.

    Args:
        class_map: The map.
        regions: Regions, each of which is sampled by itself; none for the whole map.
        plan: How to draw it.
        folder: Folder to write to.
        scene: Image of which to write a picture of each place; None for no pictures.

    Raises:
        UserError: If the map or scene can't be read, or the sample not be drawn or written,
            or the folder holds a sample already.
    """
    refuse_sample(folder)
    strata = make_strata(count_cells(class_map, regions), regions)
    sizes = allocate(strata, plan.samples, plan.allocation, plan.minimum, plan.accuracies or {})
    places = draw_places(class_map, regions, strata, sizes, plan.seed)
    place = describe_place(class_map)
    sample = Sample(folder / STRATA, strata, places, regions, place, class_map.path.name)
    pictures = write_pictures(folder / "pictures", scene, class_map, places) if scene else {}
    settings = {
        "samples": plan.samples,
        "allocation": plan.allocation,
        "minimum": plan.minimum,
        "seed": plan.seed,
    }
    write_sample(folder, class_map, sample, settings, pictures)
    return sample
