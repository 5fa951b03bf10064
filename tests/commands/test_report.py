"""The report of a study, computed from fabricated results of its runs."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from data_pipelines.errors import UserError
from data_pipelines.files.display import FALSE_COLOUR, colour_labels, to_display_rgb
from data_pipelines.files.writing import write_json
from ssl_jax.reporting import report
from ssl_jax.reporting.conclusions import state_conclusion
from ssl_jax.reporting.estimates import estimate_difference
from ssl_jax.reporting.study_results import read_study_results
from ssl_jax.reporting.tables import (
    make_contrast_table,
    make_cost_table,
    make_result_table,
    make_search_table,
)
from ssl_jax.runs.config import load_config
from ssl_jax.studies.execution import load_study
from ssl_jax.studies.plan import select_runs

QUICKSTART = "configs/study/quickstart.py:smallest"
CLASSES = [f"class {i}" for i in range(3)]


def fabricate(folder, seeds=(0,), only="*", top1=lambda name: 0.5, examples=1000):
    """Fabricate the workdir of a study, and return the study.

    Args:
        folder: The workdir.
        seeds: The seeds of the study.
        only: Selects the runs to fabricate; the others are missing.
        top1: The score of a run by its name, a fraction; the first examples are predicted right.
        examples: Number of test examples.
    """
    config = load_config(QUICKSTART, [f"seeds={seeds}"])
    plan = load_study(QUICKSTART, config)
    write_json_in(folder, "study.json", plan.to_dict())
    for run in select_runs(plan.runs, only):
        fabricate_run(folder / run.name, run.config, top1(run.name), examples)
    return plan


def write_json_in(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / name, content)


def fabricate_run(folder, config, top1, examples):
    objective, bands = config.objective.name, list(config.data.bands)
    rng = np.random.default_rng(0)
    image = rng.random((2, 16, 16, len(bands)), np.float32)
    labels = rng.integers(0, 3, (2, 16, 16), np.uint8)
    samples, metrics = {
        "simclr": ({"view_1": image, "view_2": image}, {}),
        "mae": ({"masked": image * 0, "reconstruction": image}, {}),
        "classification": (
            {"label": np.array([0, 1]), "scores": np.eye(3, dtype=np.float32)[:2]},
            {"top1": top1},
        ),
        "segmentation": ({"mask": labels, "prediction": labels}, {"mIoU": top1, "OA": 0.8125}),
    }[objective]
    results = {
        "status": "done",
        "objective": objective,
        "config": config.to_dict(),
        "steps": 3,
        "classes": [*CLASSES, "clutter"] if objective == "segmentation" else CLASSES,
        "colours": [[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]],
        "metrics": {"loss": 1.0, **metrics},
        "train": {"first_loss": 2.0, "last_loss": 1.0},
        "cost": {
            "seconds": 1234.5,
            "examples_per_second": 77.0,
            "devices": 1,
            "device_kind": "abacus",
            "peak_rss_bytes": 2**30,
            "waiting_fraction": 0.25,
            "parameters": 1_500_000,
        },
        "data": {"name": config.data.name, "bands": bands, "train": 16, "evaluation": examples,
                 "examples": {"evaluation": {"digest": "same"}}, "embedded": True},
    }  # fmt: skip
    if metrics:
        results["confusion"] = np.eye(3, dtype=int).tolist()
    write_json_in(folder, "results.json", results)
    if "top1" in metrics:
        index = np.arange(examples)
        right = index < round(top1 * examples)
        np.savez(folder / "predictions.npz", index=index, label=index % 3,
                 predicted=(index + ~right) % 3)  # fmt: skip
    np.savez(folder / "samples.npz", image=image, **samples)
    lines = [json.dumps({"step": s, "phase": "train", "loss": 3.0 / s}) for s in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def read_table(folder, number=0):
    records = read_study_results(folder)
    return make_result_table(records, records.study.tables[number])


def read_row(folder, title, number=0):
    return next(cells for cells in read_table(folder, number).rows if cells[0].startswith(title))


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    plan = fabricate(folder)
    report.write_report(folder)
    return folder, plan


def test_a_row_has_the_scores_of_its_runs_and_the_published_values(tmp_path):
    fabricate(tmp_path, top1=lambda name: 0.917 if "mae_vitb_ben4/5-5" in name else 0.25)
    assert read_row(tmp_path, "MAE ViT-B") == (
        "MAE ViT-B, BEN4", "25.0", "91.7", "25.0", "93.28", "96.11", "98.30",
    )  # fmt: skip


def test_published_values_on_other_data_are_marked(tmp_path):
    fabricate(tmp_path)
    assert read_table(tmp_path).header[-1] == "paper 8:2†"
    assert any("other data" in note for note in read_table(tmp_path).notes)


def test_several_seeds_give_mean_and_standard_deviation(tmp_path):
    values = {"seed0": 0.80, "seed1": 0.90, "seed2": 0.85}
    fabricate(tmp_path, (0, 1, 2), top1=lambda name: values.get(name[-5:], 0))
    assert read_row(tmp_path, "SimCLR ResNet50, BEN4")[1] == "85.0 ± 5.0"


def test_differences_are_paired_by_seed(tmp_path):
    def top1(name):
        seed = int(name[-1]) if "seed" in name else 0
        return 0.5 + 0.1 * seed + (0.02 if "simclr_resnet50_ben4" in name else 0)

    fabricate(tmp_path, (0, 1), top1=top1)
    records = read_study_results(tmp_path)
    first = make_contrast_table(records, records.study.tables[0]).rows[0]
    assert first[:2] == ("Pretraining by SimCLR", "+2.0 ± 0.0")


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [(0.1, "helps (+10.0"), (-0.1, "hurts (−10.0"), (0.01, "makes no clear difference (+1.0")],
)
def test_the_conclusion_agrees_with_the_scores(tmp_path, gain, verdict):
    fabricate(tmp_path, top1=lambda n: 0.5 + gain * ("simclr_resnet50_ben4" in n))
    records = read_study_results(tmp_path)
    conclusion = state_conclusion(records, records.study.tables[0])
    assert conclusion.startswith(
        f"Scene classification: pretraining by SimCLR {verdict} points of top-1"
    )


def test_the_report_of_an_unfinished_study_has_gaps_and_says_so(tmp_path):
    plan = fabricate(tmp_path, only="scenes/random_vitb/*")
    page = report.write_report(tmp_path).read_text()
    assert read_row(tmp_path, "MAE ViT-B")[1:4] == ("–", "–", "–")
    assert read_row(tmp_path, "ViT-B, random")[1:4] == ("50.0", "50.0", "50.0")
    assert f"3 of {len(plan.runs)} runs are done" in page
    assert state_conclusion(read_study_results(tmp_path), plan.tables[1]) == ""


def test_a_study_without_results_has_a_report(tmp_path):
    fabricate(tmp_path, only="pretrain/mae_vitb_ben4")
    (tmp_path / "pretrain/mae_vitb_ben4/results.json").unlink()
    assert report.write_report(tmp_path).exists()


def test_the_page_is_self_contained(complete):
    page = (complete[0] / "report.html").read_text()
    sources = re.findall(r"src=\"(.{0,22})", page)
    assert sources
    assert set(sources) == {"data:image/png;base64,"}
    assert not re.search(r"https?://|<link|<script|@import|url\(", page)


def test_each_figure_of_the_report_is_a_file_and_on_the_page(complete):
    folder = complete[0]
    text = (folder / "report.md").read_text()
    linked = set(re.findall(r"\]\((figures/.*?\.png)\)", text))
    assert linked == {f"figures/{path.name}" for path in (folder / "figures").iterdir()}
    assert {path.rpartition("/")[2].removesuffix(".png") for path in linked} == {
        "scenes_bars", "scenes_gallery", "scenes_confusion", "aerial_bars", "aerial_maps",
        "aerial_confusion", "mae_vitb_ben4_reconstructions", "simclr_views", "pretraining_curves",
        "transfer_curves",
    }  # fmt: skip


def test_the_cost_table_has_all_runs(complete):
    folder, plan = complete
    costs = make_cost_table(read_study_results(folder))
    assert [cells[0] for cells in costs.rows] == [run.name for run in plan.runs]
    assert costs.rows[0][1:] == (
        "3", "1,234.5", "77", "25.0 %", "1.50 M", "1.0 GiB", "1 × abacus",
    )  # fmt: skip


def test_the_search_table_has_all_candidates_and_marks_the_best(tmp_path):
    fabricate(tmp_path, only="scenes/random_vitb/*")
    assert make_search_table(read_study_results(tmp_path)) is None
    path = tmp_path / "scenes/random_vitb/5-5/seed0/results.json"
    results = json.loads(path.read_text())
    candidates = [
        {"learning_rate": 0.0003, "metric": "top1", "figure": 0.625},
        {"learning_rate": 0.01, "diverged": "the loss of step 3 is nan"},
    ]
    results["search"] = {"learning_rate": 0.0003, "metric": "top1", "candidates": candidates}
    write_json(path, results)
    table = make_search_table(read_study_results(tmp_path))
    assert table.header == ("run", "0.0003", "0.01", "metric")
    assert table.rows == (("scenes/random_vitb/5-5/seed0", "62.5", "diverged", "top1"),)
    assert table.bold == {(0, 1)}
    assert "62.5</td>" in report.write_report(tmp_path).read_text()


def test_results_of_the_study_hold_the_values_of_the_tables(complete):
    results = json.loads((complete[0] / "results.json").read_text())
    cell = results["tables"]["aerial"]["rows"]["ViT-B UperNet, without SSL"]["OA"]
    ours = {"mean": 81.25, "std": None, "seeds": 1, "interval": None}
    assert cell == {"ours": ours, "paper": None}
    low, high = results["tables"]["scenes"]["rows"]["Image statistics"]["2:8"]["ours"]["interval"]
    assert 46 < low < 48 < 52 < high < 54  # 50 % of 1,000: the standard error is 1.6 points


def test_titles_are_escaped_on_the_page(tmp_path):
    plan = fabricate(tmp_path, only="aerial/resnet50_ssl")
    hostile = replace(plan, title="<script>alert(1)</script>")
    write_json(tmp_path / "study.json", hostile.to_dict())
    assert "<script>" not in report.write_report(tmp_path).read_text()


def test_a_folder_without_a_study_is_rejected(tmp_path):
    with pytest.raises(UserError, match=r"holds no study\.json"):
        report.write_report(tmp_path)


def test_display_selects_bands_by_name_and_keeps_the_hue():
    image = np.zeros((10, 10, 4), np.float32)
    image[..., 3], image[:, 5:, 3], image[..., 0] = 0.2, 0.4, 0.9  # red is last, nir first
    display = to_display_rgb(image, ["nir", "blue", "green", "red"])
    assert display.shape == (10, 10, 3)
    assert display[0, 9].tolist() == [1, 0, 0]
    assert 0 < display[0, 0, 0] < 1
    assert to_display_rgb(image, ["red", "green", "blue"], FALSE_COLOUR).shape == (10, 10, 3)


def test_labels_without_a_class_are_grey():
    display = colour_labels(np.array([[1, 255]], np.uint8), [(0, 0, 0), (255, 0, 0)])
    assert display[0, 0].tolist() == [1, 0, 0]
    assert len(set(display[0, 1])) == 1


def test_a_difference_of_one_seed_on_few_test_images_is_not_clear(tmp_path):
    fabricate(tmp_path, top1=lambda n: 0.5 + 0.1 * ("simclr_resnet50_ben4" in n), examples=20)
    records = read_study_results(tmp_path)
    conclusion = state_conclusion(records, records.study.tables[0])
    assert "pretraining by SimCLR makes no clear difference (+10.0 points" in conclusion


@pytest.mark.parametrize(("spread", "clear"), [(0.004, True), (0.05, False)])
def test_a_difference_that_varies_with_the_seed_is_not_clear(tmp_path, spread, clear):
    """5 points on 1,000 images: 5 ± 0.4 or 5 ± 5 over three seeds."""

    def top1(name):
        gain = 0.05 + spread * (int(name[-1]) - 1) if "simclr_resnet50_ben4" in name else 0
        return 0.5 + gain

    fabricate(tmp_path, (0, 1, 2), top1=top1, only="scenes/*")
    records = read_study_results(tmp_path)
    contrasts = make_contrast_table(records, records.study.tables[0])
    assert contrasts.rows[0][1].startswith("+5.0")
    assert ((0, 1) in contrasts.bold) == clear


def test_differences_are_paired_by_example_only_on_the_same_examples(tmp_path):
    """Pairing narrows the interval: examples that both predict right cancel out."""

    def width():
        records = read_study_results(tmp_path)
        scenes = records.study.tables[0]
        cell, against = (scenes.find_row(f"{name}").cells[0] for name in (
            "SimCLR ResNet50, BEN4", "ResNet50, random weights"))  # fmt: skip
        low, high = estimate_difference(records, cell, against).interval
        return high - low

    top1 = {"simclr_resnet50_ben4": 0.55}
    fabricate(tmp_path, top1=lambda name: top1.get(name.split("/")[1], 0.5))
    paired = width()
    path = tmp_path / "scenes/random_resnet50/2-8/seed0/results.json"
    results = json.loads(path.read_text())
    results["data"]["examples"]["evaluation"]["digest"] = "other"
    write_json(path, results)
    assert width() > 3 * paired


def test_intervals_are_printed_below_their_scores(complete):
    folder = complete[0]
    first, small = read_table(folder).rows[-1], read_table(folder).below[-1]
    assert first[1] == "50.0"
    assert re.fullmatch(r"4\d\.\d to 5\d\.\d", small[1])
    assert small[0] == small[-1] == ""
    assert f"| 50.0<br><sub>{small[1]}</sub> |" in (folder / "report.md").read_text()
    assert f"<td>50.0<small>{small[1]}</small></td>" in (folder / "report.html").read_text()
