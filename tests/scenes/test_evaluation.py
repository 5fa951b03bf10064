"""Segmentation is evaluated over whole pictures, from the config to the figures."""

import json
import os
import signal

import jax
import numpy as np
import pytest
from small import small

from data_pipelines.errors import UserError
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset
from ssl_jax.checkpoints import loading
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.devices.mesh import make_data_mesh, replicate
from ssl_jax.evaluate import main
from ssl_jax.runs import parts
from ssl_jax.runs.evaluation import evaluate_checkpoint
from ssl_jax.runs.training import train
from ssl_jax.training.shutdown import ShutdownSignal, Stopped


def sliding(data_dir, **evaluation):
    config = small("segmentation", data_dir)
    config.evaluation = {"window": 32, "stride": 24, "flips": False, **evaluation}
    config.steps = 2
    return config


@pytest.fixture(scope="module")
def slid(data_dir, tmp_path_factory):
    """A run on pictures of 64 × 64 pixels, its config and results."""
    folder = tmp_path_factory.mktemp("slid")
    config = sliding(data_dir)
    return folder, config, train(config, folder)


def by_hand(workdir, config, flips):
    """Confusion and loss in float64, from averages over nine windows and their flips."""
    objective = parts.make_objective(ModelCard.from_dict(loading.load_card(workdir)))
    variables = loading.load_variables(workdir)
    logits_of = jax.jit(objective.logits)
    group = [(), (1,), (2,), (1, 2)] if flips else [()]
    confusion, loss = np.zeros((5, 5), int), 0.0
    source = select_subset(open_dataset(config.data.name, config.data.data_dir), "test").examples
    images, masks = (np.stack([source[i][n] for i in range(8)]) for n in ("image", "mask"))
    total = np.zeros((8, 64, 64, 5))
    seen = np.zeros((64, 64, 1))
    for y in (0, 24, 32):
        for x in (0, 24, 32):
            seen[y : y + 32, x : x + 32] += len(group)
            for axes in group:
                view = np.flip(images[:, y : y + 32, x : x + 32], axes)
                answer = np.asarray(logits_of(variables, view))
                total[:, y : y + 32, x : x + 32] += np.flip(answer, axes)
    logits = total / seen
    chances = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    for output, label in enumerate(objective.kept):
        pixels = masks == label
        loss -= chances[pixels, output].sum()
        confusion[output] = np.bincount(logits[pixels].argmax(-1), minlength=5)
    return confusion, loss / confusion.sum()


@pytest.mark.parametrize("flips", [False, True])
def test_figures_are_those_of_averaged_logits(flips, slid):
    workdir, config, results = slid
    confusion, loss = by_hand(workdir, config, flips)
    figures = evaluate_checkpoint(workdir, flips=flips)
    assert figures["loss"] == pytest.approx(loss, rel=1e-5)
    assert figures["OA"] == pytest.approx(np.trace(confusion) / confusion.sum(), abs=1e-4)
    if not flips:
        np.testing.assert_array_equal(results["confusion"], confusion)


def test_the_predictions_hold_each_pictures_own_confusion(slid):
    workdir, config, results = slid
    images = select_subset(open_dataset(config.data.name, config.data.data_dir), "test").images()
    kept = [i for i, name in enumerate(results["classes"]) if name != "clutter"]
    with np.load(workdir / "predictions.npz") as predictions:
        confusion, index = predictions["confusion"], predictions["index"]
    np.testing.assert_array_equal(confusion.sum(axis=0), results["confusion"])
    assert index.tolist() == [image.index for image in images]
    for one, image in zip(confusion, images, strict=True):
        mask = image.read(0, 0, image.height, image.width)["mask"]
        assert one.sum(axis=1).tolist() == [(mask == label).sum() for label in kept]


def test_every_labelled_pixel_counts_once(slid, data_dir):
    _, config, results = slid
    source = select_subset(open_dataset(config.data.name, data_dir), "test").examples
    labels = np.concatenate([source[i]["mask"].reshape(-1) for i in range(len(source))])
    kept = [i for i, name in enumerate(results["classes"]) if name != "clutter"]
    expected = [(labels == label).sum() for label in kept]
    np.testing.assert_array_equal(np.sum(results["confusion"], axis=1), expected)


def test_the_door_repeats_the_figures_of_the_run(slid, tmp_path):
    workdir, _, results = slid
    file = tmp_path / "figures.json"
    assert main(["--checkpoint", str(workdir), "--json", str(file)]) == 0
    assert json.loads(file.read_text()) == results["metrics"]


def test_stride_and_flips_can_be_asked_for(slid):
    workdir, _, results = slid
    assert evaluate_checkpoint(workdir, stride=24, flips=False) == results["metrics"]
    others = [evaluate_checkpoint(workdir, stride=16), evaluate_checkpoint(workdir, flips=True)]
    assert len({figures["loss"] for figures in (results["metrics"], *others)}) == 3


def test_one_device_and_eight_have_the_same_figures(slid, monkeypatch):
    workdir, _, results = slid
    expected = evaluate_checkpoint(workdir, flips=True)
    monkeypatch.setattr(
        "ssl_jax.runs.evaluation.make_data_mesh", lambda: make_data_mesh(jax.devices()[:1])
    )
    assert evaluate_checkpoint(workdir) == results["metrics"]
    assert evaluate_checkpoint(workdir, flips=True, batch_size=3) == expected


def test_without_a_window_the_examples_are_evaluated_one_by_one(data_dir, tmp_path):
    """With the predictions of each; a window as large as the pictures makes no difference."""
    config = sliding(data_dir)
    del config.evaluation
    results = train(config, tmp_path)
    with np.load(tmp_path / "predictions.npz") as rows:
        assert rows["index"].tolist() == parts.assemble_run(config).evaluation_source.rows.tolist()
        np.testing.assert_array_equal(rows["confusion"].sum(axis=0), results["confusion"])
    whole = evaluate_checkpoint(tmp_path, stride=64)
    assert whole["loss"] == pytest.approx(results["metrics"]["loss"], rel=1e-5)
    assert whole["OA"] == pytest.approx(results["metrics"]["OA"], abs=1e-4)


def test_asked_to_stop_within_an_evaluation(slid):
    workdir, config, _ = slid
    run = parts.assemble_run(config)
    variables = replicate(loading.load_variables(workdir), run.mesh)
    with ShutdownSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped):
            run.image_evaluation(variables, stop)


def test_it_is_evaluated_in_training_too(data_dir, tmp_path):
    config = sliding(data_dir)
    config.every.evaluate = 1
    results = train(config, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    records = [line for line in lines if line["phase"] == "evaluation"]
    assert [record["step"] for record in records] == [1, 2]
    assert records[1]["mIoU"] == results["metrics"]["mIoU"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stride": 33}, "config.evaluation: stride is 33 with a window of 32; expected 1 to"),
        ({"flip": True}, "config.evaluation.flip: no such field; did you mean flips?"),
    ],
)
def test_a_mistake_is_named(change, message, data_dir):
    with pytest.raises(UserError) as mistake:
        parts.assemble_run(sliding(data_dir, **change))
    assert message in str(mistake.value)


def test_only_segmentation_slides(data_dir):
    config = small("classification", data_dir)
    config.evaluation = {"window": 32, "stride": 24}
    with pytest.raises(UserError, match="with objective classification; expected objective segm"):
        parts.assemble_run(config)
