import numpy as np
import pytest

from data_pipelines.demo import aerial, objects, scenes, tiles
from data_pipelines.demo.geometry import fractal, meander, smoothstep
from data_pipelines.demo.landcover import SCENES
from data_pipelines.demo.spectra import Cover, Land, render_reflectance
from data_pipelines.demo.town import CLASSES, IGNORE_LABEL
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset


def test_a_tile_is_a_function_of_its_seed_only():
    first = tiles.draw_tile((0, 0, 5), 32)
    tiles.draw_tile((0, 0, 6), 32)
    np.testing.assert_array_equal(first, tiles.draw_tile((0, 0, 5), 32))
    assert (first != tiles.draw_tile((1, 0, 5), 32)).any()


def test_more_examples_do_not_change_the_first_ones(data_dir, tmp_path):
    config = tiles.DemoTilesConfig(name="few", train=3, validation=1, image_size=32)
    few = tiles.DemoTiles(config=config, data_dir=tmp_path)
    expected = {example["image"].tobytes() for _, example in few._generate_examples(0, 3)}
    source = select_subset(open_dataset("demo_tiles/tiny", data_dir), "train").examples
    assert expected <= {source[i]["image"].tobytes() for i in range(len(source))}


def test_splits_and_datasets_share_no_example(data_dir):
    source = select_subset(open_dataset("demo_tiles/tiny", data_dir), "all").examples
    assert len({source[i]["image"].tobytes() for i in range(len(source))}) == len(source)


@pytest.mark.parametrize("name", ["demo_scenes/tiny", "demo_objects/tiny"])
def test_labels_are_balanced(data_dir, name):
    source = select_subset(open_dataset(name, data_dir), "all").examples
    counts = np.bincount([source[i]["label"] for i in range(len(source))])
    assert len(counts) == 10
    assert counts.min() == counts.max()


@pytest.mark.parametrize("name", SCENES)
def test_every_scene_is_plausible_at_any_size(name):
    for size in (32, 64):
        scene = scenes.draw_scene((0, 2, 0), name, size)
        assert scene.shape == (size, size, 4)
        assert scene.dtype == np.uint16
        assert 0 < scene.mean() < 15_000
        assert scene.std() > 0


def test_masks_hold_the_classes_of_potsdam(data_dir):
    source = select_subset(open_dataset("demo_aerial/tiny", data_dir), "all").examples
    masks = np.concatenate([source[i]["mask"].reshape(-1) for i in range(len(source))])
    counts = np.bincount(masks, minlength=256)
    assert (counts[: len(CLASSES) - 1] > 0).all()
    assert counts[len(CLASSES) : IGNORE_LABEL].sum() == 0


def test_vegetation_is_bright_and_water_dark_in_the_near_infrared():
    def mean_reflectance(cover):
        return render_reflectance(np.random.default_rng(0), Land.make_uniform(16, cover)).mean(
            (0, 1)
        )

    for plant in (Cover.CROP, Cover.GRASS, Cover.BROADLEAF, Cover.CONIFER):
        assert mean_reflectance(plant)[3] > 2.5 * mean_reflectance(plant)[0]
    for water in (Cover.DEEP_WATER, Cover.SHALLOW_WATER, Cover.BLACK_WATER):
        assert mean_reflectance(water)[3] < 0.15


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Cover.BLACK_WATER, Cover.CONIFER),
        (Cover.YOUNG_CROP, Cover.SOIL),
        (Cover.TURF, Cover.GRASS),
        (Cover.GREEN_ROOF, Cover.BROADLEAF),
    ],
)
def test_some_covers_differ_only_in_the_near_infrared(one, other):
    differences = []
    for seed in range(20):
        first, second = (
            render_reflectance(np.random.default_rng(seed), Land.make_uniform(16, cover)).mean(
                (0, 1)
            )
            for cover in (one, other)
        )
        differences.append(np.abs(first - second))
    red, green, blue, nir = np.mean(differences, 0)
    assert nir > 0.08
    assert max(red, green, blue) < 0.01


def test_statistics_of_the_demo_sensors_are_those_of_their_images():
    names, kinds = list(SCENES), list(objects.OBJECTS)
    images = {
        "demo_tiles/tiny": [tiles.draw_tile((0, 0, i), 60) for i in range(300)],
        "demo_scenes/tiny": [scenes.draw_scene((0, 2, i), names[i % 10], 64) for i in range(200)],
        "demo_aerial/tiny": [aerial.draw_tile((0, 3, 0, i), 96)[0] for i in range(30)],
        "demo_objects/tiny": [
            objects.draw_object_image((0, 4, 0, i), kinds[i % 10], 64) for i in range(150)
        ],
    }
    from data_pipelines import bands

    sensors = (bands.DEMO_TILES, bands.DEMO_SCENES, bands.DEMO_AERIAL, bands.DEMO_OBJECTS)
    for drawn, sensor in zip(images.values(), sensors, strict=True):
        pixels = np.stack(drawn).reshape(-1, len(sensor.bands)).astype(float)
        np.testing.assert_allclose(pixels.mean(0), [b.mean for b in sensor.bands], rtol=0.2)
        np.testing.assert_allclose(pixels.std(0), [b.std for b in sensor.bands], rtol=0.2)


def test_fractals_are_standardised_and_follow_the_roughness():
    rough, smooth = (fractal(np.random.default_rng(0), 64, r) for r in (1.0, 3.0))
    for field in (rough, smooth):
        assert field.dtype == np.float32
        assert abs(field.mean()) < 1e-5
        assert field.std() == pytest.approx(1, abs=1e-3)
    assert np.abs(np.diff(smooth)).mean() < 0.5 * np.abs(np.diff(rough)).mean()


def test_a_meander_is_a_continuous_line():
    along = np.tile(np.linspace(-32, 32, 64, dtype=np.float32), (64, 1))
    line = meander(np.random.default_rng(0), along, 5, 1)
    assert np.abs(np.diff(line[0])).max() < 8
    assert smoothstep(np.array([-1.0, 0.5, 2.0]), 0, 1).tolist() == [0, 0.5, 1]
