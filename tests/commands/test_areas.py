"""The command `ssl_jax.areas`, from a classified raster to areas with intervals."""

import csv
import json
import sys
import tracemalloc

import numpy as np
import pytest
import rasterio
from PIL import Image
from pyproj import Geod
from rasterio import Affine

from data_pipelines.errors import UserError
from ssl_jax import areas

NAMES = "water,forest,fields"


def write_map(path, classes, crs="EPSG:32632", transform=None, nodata=255, dtype="uint8"):
    transform = transform or Affine(10, 0, 600_000, 0, -10, 5_400_000)
    profile = {"driver": "GTiff", "count": 1, "dtype": dtype, "crs": crs, "transform": transform}
    height, width = classes.shape
    with rasterio.open(path, "w", **profile, height=height, width=width, nodata=nodata) as raster:
        raster.write(classes.astype(dtype), 1)
    return path


@pytest.fixture
def truth():
    """Fields with a lake, a forest, and a margin without data."""
    rows, columns = np.mgrid[:300, :400]
    classes = np.full((300, 400), 2)
    classes[(rows - 80) ** 2 + (columns - 90) ** 2 < 20**2] = 0
    classes[:, 260:] = 1
    classes[:10] = 255
    return classes


@pytest.fixture
def mapped(truth):
    """The truth with a tenth of the pixels wrong, and more forest mapped as fields."""
    rng = np.random.default_rng(3)
    wrong = np.where(rng.random(truth.shape) < 0.1, rng.integers(0, 3, truth.shape), truth)
    wrong[(truth == 1) & (rng.random(truth.shape) < 0.1)] = 2
    return np.where(truth == 255, 255, wrong)


def label(folder, truth, count=None):
    """Fill in the references of a sample as who labels would, by coordinates."""
    with (folder / "sample.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows[:count]:
        column = (float(row["x"]) - 600_000) / 10
        line = (5_400_000 - float(row["y"])) / 10
        row["reference"] = NAMES.split(",")[truth[int(line), int(column)]]
    path = folder / "labels.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def plan(path, *options, samples=300):
    folder = path.with_name(f"{path.stem}_sample")
    assert areas.main(["plan", str(path), "--samples", str(samples), *options]) == 0
    return folder


def run(*arguments):
    assert areas.main([str(word) for word in arguments]) == 0


def write_regions(path, *boxes, crs=32632):
    """Write regions: boxes of columns and rows of the map, in pixels."""
    features = []
    for name, (left, top, right, bottom) in boxes:
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        ring = [(600_000 + 10 * x, 5_400_000 - 10 * y) for x, y in corners]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "properties": {"name": name}, "geometry": geometry})
    system = {"type": "name", "properties": {"name": f"EPSG:{crs}"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": system, "features": features}))
    return path


def test_from_a_map_to_areas_with_intervals(tmp_path, truth, mapped, capsys):
    path = write_map(tmp_path / "map.tif", mapped)
    folder = plan(path, "--classes", NAMES)
    labels = label(folder, truth)
    run("estimate", path, "--labels", labels, "--classes", NAMES)
    result = json.loads((folder / "estimate.json").read_text())
    geodesic = result["total_area"] / (truth != 255).sum()
    assert geodesic == pytest.approx(0.01, rel=2e-3)
    for value, row in enumerate(result["classes"]):
        true = (truth == value).sum() * geodesic
        assert row["area"]["lower"] <= true <= row["area"]["upper"]
        assert row["mapped_pixels"] == (mapped == value).sum()
    forest = result["classes"][1]
    true = (truth == 1).sum() * geodesic
    assert abs(forest["area"]["estimate"] - true) < abs(forest["mapped_area"] - true)
    kept = (truth != 255).sum()
    overall = result["overall_accuracy"]
    assert overall["lower"] <= ((truth == mapped) & (truth != 255)).sum() / kept <= overall["upper"]
    rows = list(csv.DictReader((folder / "estimate.csv").open()))
    assert [row["class"] for row in rows] == NAMES.split(",")
    assert float(rows[1]["area_ha_lower"]) == pytest.approx(forest["area"]["lower"], rel=1e-5)
    page = (folder / "areas.html").read_text()
    assert "<svg" in page
    assert "forest" in page
    assert "http" not in page
    assert "overall accuracy" in capsys.readouterr().out


def test_the_sample_tells_nothing_of_the_map(tmp_path, mapped):
    folder = plan(write_map(tmp_path / "map.tif", mapped), "--allocation", "equal")
    rows = list(csv.DictReader((folder / "sample.csv").open()))
    assert set(rows[0]) == {"id", "x", "y", "longitude", "latitude", "reference"}
    assert {row["reference"] for row in rows} == {""}
    strata = json.loads((folder / "strata.json").read_text())
    order = [strata["places"][row["id"]][0] for row in rows]
    assert np.bincount(order).tolist() == [100, 100, 100]
    changes = np.mean(np.diff(order) != 0)  # 2 / 3 in a random order
    assert 0.55 < changes < 0.78
    for row in rows:
        stratum, line, column = strata["places"][row["id"]]
        assert mapped[line, column] == strata["strata"][stratum]["value"]
        assert (float(row["x"]), float(row["y"])) == (
            600_000 + 10 * (column + 0.5),
            5_400_000 - 10 * (line + 0.5),
        )
    assert len({tuple(place[1:]) for place in strata["places"].values()}) == 300


def test_a_seed_repeats_a_sample(tmp_path, mapped):
    path = write_map(tmp_path / "map.tif", mapped)
    texts = []
    for number, seed in enumerate(("4", "4", "5")):
        folder = tmp_path / str(number)
        plan(path, "--seed", seed, "--output", str(folder))
        texts.append((folder / "sample.csv").read_text())
    assert texts[0] == texts[1] != texts[2]


def test_regions_are_domains(tmp_path, truth, mapped):
    path = write_map(tmp_path / "map.tif", mapped)
    boxes = [("west", (0, 0, 200, 300)), ("east", (200, 0, 400, 300)), ("tiny", (0, 0, 0, 0))]
    regions = write_regions(tmp_path / "regions.json", *boxes[:2])
    folder = plan(path, "--classes", NAMES, samples=400)
    labels = label(folder, truth)
    run("estimate", path, "--labels", labels, "--classes", NAMES, "--regions", regions)
    result = json.loads((folder / "estimate.json").read_text())
    assert [part["name"] for part in result["regions"]] == ["west", "east"]
    for part, columns in zip(result["regions"], (slice(0, 200), slice(200, 400)), strict=True):
        inside = truth[:, columns]
        for value, row in enumerate(part["classes"]):
            share = (inside == value).sum() / (inside != 255).sum()
            interval = row["area"]["lower"], row["area"]["upper"]
            assert interval[0] <= share * part["total_area"] <= interval[1]
            assert row["mapped_pixels"] == (mapped[:, columns] == value).sum()
    total = sum(part["total_area"] for part in result["regions"])
    assert total == pytest.approx(result["total_area"])


def test_regions_of_a_plan_are_sampled_each(tmp_path, truth, mapped):
    path = write_map(tmp_path / "map.tif", mapped)
    boxes = [("west", (0, 0, 100, 300)), ("middle", (100, 0, 200, 300))]
    regions = write_regions(tmp_path / "regions.json", *boxes)
    folder = plan(path, "--classes", NAMES, "--regions", str(regions))
    labels = label(folder, truth)
    run("estimate", path, "--labels", labels, "--classes", NAMES)
    result = json.loads((folder / "estimate.json").read_text())
    assert [part["name"] for part in result["regions"]] == ["west", "middle"]
    assert result["total_area"] == pytest.approx(0.01 * 290 * 200, rel=2e-3)
    assert all(sum(map(sum, p["error_matrix"]["counts"])) >= 90 for p in result["regions"])


def test_where_labels_are_too_few_it_is_said(tmp_path, truth, mapped, capsys):
    path = write_map(tmp_path / "map.tif", mapped)
    boxes = [("corner", (0, 10, 20, 20)), ("rest", (20, 10, 400, 300))]
    regions = write_regions(tmp_path / "regions.json", *boxes)
    folder = plan(path, "--classes", NAMES)
    run("estimate", path, "--labels", label(folder, truth), "--regions", regions,
        "--classes", NAMES)  # fmt: skip
    assert "too few labels" in capsys.readouterr().out
    result = json.loads((folder / "estimate.json").read_text())
    fields = result["regions"][0]["classes"][2]["area"]
    assert fields["lower"] <= result["regions"][0]["total_area"] <= fields["upper"] * 1.0001


def test_hectares_are_geodesic_in_degrees(tmp_path):
    """At 60° N a pixel is half as wide as at the equator; places are drawn by area."""
    classes = np.repeat([[0, 1]], 700, axis=0).repeat(5, axis=1)
    transform = Affine(0.1, 0, 10, 0, -0.1, 70)
    path = write_map(tmp_path / "map.tif", classes, "EPSG:4326", transform)
    folder = plan(path, samples=2000)
    strata = json.loads((folder / "strata.json").read_text())
    edge = np.linspace(0, 70, 2000)
    longitude = np.concatenate([0 * edge + 10, 0 * edge + 10.5])
    latitude = np.concatenate([edge, edge[::-1]])
    polygon = abs(Geod(ellps="WGS84").polygon_area_perimeter(longitude, latitude)[0]) / 1e4
    assert strata["strata"][0]["area"] == pytest.approx(polygon, rel=1e-4)
    rows = np.array([place[1] for place in strata["places"].values()])
    weights = np.cos(np.radians(70 - 0.1 * (np.arange(700) + 0.5)))
    north = weights[:350].sum() / weights.sum()
    assert np.mean(rows < 350) == pytest.approx(north, abs=4 * np.sqrt(0.25 / 2000))


@pytest.mark.parametrize(("dtype", "nodata"), [("int16", -9999), ("float32", float("nan"))])
def test_any_number_and_nodata(tmp_path, truth, mapped, dtype, nodata):
    values = np.array([111, 211, 4000])
    shown = np.where(mapped == 255, nodata, values[np.minimum(mapped, 2)])
    path = write_map(tmp_path / "map.tif", shown, nodata=nodata, dtype=dtype)
    classes = ",".join(f"{v}={n}" for v, n in zip(values, NAMES.split(","), strict=True))
    folder = plan(path, "--classes", classes)
    run("estimate", path, "--labels", label(folder, truth), "--classes", classes)
    result = json.loads((folder / "estimate.json").read_text())
    assert [row["mapped_pixels"] for row in result["classes"]] == [
        int((mapped == value).sum()) for value in range(3)
    ]


def test_labels_without_strata_are_found_by_coordinates(tmp_path, truth, mapped, capsys):
    path = write_map(tmp_path / "map.tif", mapped)
    folder = plan(path, "--classes", NAMES)
    labels = label(folder, truth)
    run("estimate", path, "--labels", labels, "--classes", NAMES)
    with_strata = json.loads((folder / "estimate.json").read_text())
    (folder / "strata.json").unlink()
    run("estimate", path, "--labels", labels, "--classes", NAMES)
    assert json.loads((folder / "estimate.json").read_text()) == with_strata
    assert "no strata.json" in capsys.readouterr().out


def test_strata_of_another_map(tmp_path, truth, mapped):
    """A sample of a poor map is one for a better map too, with the strata's own weights."""
    path = write_map(tmp_path / "map.tif", mapped)
    better = write_map(tmp_path / "better.tif", np.where(truth == 0, 2, truth))
    folder = plan(path, "--classes", NAMES)
    labels = label(folder, truth)
    with pytest.raises(UserError, match="are of another map"):
        areas.main(["estimate", str(better), "--labels", str(labels), "--classes", NAMES])
    run("estimate", path, "--labels", labels, "--classes", NAMES)
    own = json.loads((folder / "estimate.json").read_text())
    run("estimate", better, "--labels", labels, "--classes", NAMES, "--other_map")
    other = json.loads((folder / "estimate.json").read_text())
    for one, two in zip(own["classes"], other["classes"], strict=True):
        assert one["area"] == pytest.approx(two["area"], rel=1e-6)
    accuracy = (truth[10:] != 0).mean()
    assert other["overall_accuracy"]["lower"] <= accuracy <= other["overall_accuracy"]["upper"]
    assert other["classes"][0]["producers_accuracy"]["estimate"] == 0


def test_pictures_of_places_mark_the_pixel(tmp_path, mapped):
    path = write_map(tmp_path / "map.tif", mapped)
    rng = np.random.default_rng(0)
    transform = Affine(5, 0, 600_000, 0, -5, 5_400_000)
    with rasterio.open(
        tmp_path / "scene.tif", "w", driver="GTiff", count=3, dtype="uint8", width=800,
        height=400, crs="EPSG:32632", transform=transform,
    ) as raster:  # fmt: skip
        raster.write(rng.integers(0, 200, (3, 400, 800)).astype(np.uint8))
    folder = plan(path, "--scene", str(tmp_path / "scene.tif"), "--minimum", "5", samples=20)
    rows = list(csv.DictReader((folder / "sample.csv").open()))
    for row in rows:
        is_inside = 5_400_000 - float(row["y"]) < 2000
        assert bool(row["picture"]) == is_inside
        if is_inside:
            picture = np.array(Image.open(folder / row["picture"]))
            marked = (picture == (255, 0, 255)).all(-1)
            assert np.argwhere(marked).mean(0) == pytest.approx((192, 192), abs=2)


def test_compare_finds_transitions_and_the_better_map(tmp_path, truth, mapped, capsys):
    path = write_map(tmp_path / "map.tif", mapped)
    perfect = write_map(tmp_path / "perfect.tif", truth)
    folder = plan(path, "--classes", NAMES)
    labels = label(folder, truth)
    run("compare", path, perfect, "--labels", labels, "--classes", NAMES)
    output = tmp_path / "map_perfect"
    rows = list(csv.DictReader((output / "transitions.csv").open()))
    with rasterio.open(output / "changes.tif") as raster:
        changes = raster.read(1)
        assert raster.nodata == 65535
    number = {name: value for value, name in enumerate(NAMES.split(","))}
    for row in rows:
        both = (mapped == number[row["from"]]) & (truth == number[row["to"]])
        assert int(row["pixels"]) == both.sum()
        assert (changes[both] == int(row["value"])).all()
        assert float(row["ha"]) == pytest.approx(both.sum() * 0.01, rel=2e-3)
    assert (changes[truth == 255] == 65535).all()
    assert "perfect.tif is better than map.tif" in capsys.readouterr().out
    content = json.loads((output / "comparison.json").read_text())["accuracy"]
    gain = 1 - (truth == mapped)[10:].mean()
    assert content["second_minus_first"]["lower"] <= gain <= content["second_minus_first"]["upper"]
    run("compare", path, path, "--labels", labels, "--classes", NAMES)
    assert "no difference beyond chance" in capsys.readouterr().out


def test_memory_does_not_grow_with_the_map(tmp_path):
    peaks = []
    for height in (3_000, 12_000):
        classes = np.random.default_rng(0).integers(0, 3, (height, 1000))
        path = write_map(tmp_path / f"{height}.tif", classes)
        del classes
        tracemalloc.start()
        plan(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


BAD = {
    "outside": ("id,x,y,reference\n1,0,0,forest\n", "lie outside of"),
    "unknown class": ("id,x,y,reference\n1,600105,5399845,swamp\n", "'swamp' is unknown"),
    "no data": ("id,x,y,reference\n1,600105,5399995,forest\n", "have no data in"),
    "no reference": ("id,x,y\n1,600105,5399845\n", "no column 'reference'"),
    "empty": ("id,x,y,reference\n1,600105,5399845,\n", "no place has a reference"),
    "double": (
        "x,y,reference\n600105,5399845,forest\n600105,5399845,water\n",
        "is there twice",
    ),
    "no label in a stratum": ("x,y,reference\n600105,5399845,forest\n", "has no label"),
    "not a number": ("x,y,reference\neast,5399845,forest\n", "other than numbers"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_labels_are_refused_in_one_line(tmp_path, mapped, name):
    text, message = BAD[name]
    path = write_map(tmp_path / "map.tif", mapped)
    labels = tmp_path / "labels.csv"
    labels.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        areas.main(["estimate", str(path), "--labels", str(labels), "--classes", NAMES])
    assert "\n" not in str(error.value)


def test_bad_regions_and_samples_are_refused(tmp_path, truth, mapped):
    path = write_map(tmp_path / "map.tif", mapped)
    boxes = ("a", (0, 0, 200, 300)), ("b", (190, 0, 400, 300))
    regions = write_regions(tmp_path / "regions.json", *boxes)
    with pytest.raises(UserError, match="a and b overlap in 3000 pixels"):
        plan(path, "--regions", str(regions))
    away = write_regions(tmp_path / "away.json", ("a", (1000, 0, 1200, 300)))
    with pytest.raises(UserError, match="a holds no pixel"):
        plan(path, "--regions", str(away))
    with pytest.raises(UserError, match="expected more samples"):
        plan(path, samples=20)
    with pytest.raises(UserError, match="tells none of class"):
        plan(path, "--allocation", "neyman", "--accuracies", "0=0.9")
    folder = plan(path)
    labels = label(folder, truth)
    labels.write_text(labels.read_text().replace("\n", "\nx", 1))
    with pytest.raises(UserError, match="isn't in the sample"):
        areas.main(["estimate", str(path), "--labels", str(labels), "--classes", NAMES])
    with pytest.raises(UserError, match="holds a sample already"):
        plan(path)
    other = write_map(tmp_path / "other.tif", mapped[:200])
    with pytest.raises(UserError, match="whose pixels aren't those"):
        areas.main(["estimate", str(other), "--labels", str(labels), "--classes", NAMES])
    with pytest.raises(UserError, match="has other pixels than"):
        areas.main(["compare", str(path), str(other)])


def test_help_needs_no_numerics(tmp_path):
    with pytest.raises(SystemExit) as error:
        areas.main(["plan", "--help"])
    assert error.value.code == 0
    assert "ssl_jax.areas" in sys.modules
