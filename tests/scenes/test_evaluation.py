"""Evaluation of segmentation on whole images, from the config to the metrics."""

import json
import os
import signal

import jax
import numpy as np
import pytest
from blended_logits import blend
from small_configs import make_small_config

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


def make_sliding_config(data_dir, **evaluation):
    config = make_small_config("segmentation", data_dir)
    config.evaluation = {"window": 32, "stride": 24, "flips": False, **evaluation}
    config.steps = 2
    return config


@pytest.fixture(scope="module")
def sliding_run(data_dir, tmp_path_factory):
    """The folder, config and results of a run on images of 64 × 64 pixels."""
    folder = tmp_path_factory.mktemp("sliding_run")
    config = make_sliding_config(data_dir)
    return folder, config, train(config, folder)


def compute_reference(workdir, config, flips):
    """Compute confusion matrix and loss in float64, from windows and flips blended in NumPy."""
    objective = parts.make_objective(ModelCard.from_dict(loading.load_card(workdir)))
    variables = loading.load_variables(workdir)
    compute_logits = jax.jit(objective.logits)
    flip_axes = [(), (0,), (1,), (0, 1)] if flips else [()]

    def compute(window):
        views = np.stack([np.flip(window, axes) for axes in flip_axes])
        outputs = np.asarray(compute_logits(variables, views), np.float64)
        flipped = [np.flip(o, axes) for o, axes in zip(outputs, flip_axes, strict=True)]
        return np.mean(flipped, axis=0)

    confusion, loss = np.zeros((5, 5), int), 0.0
    source = select_subset(open_dataset(config.data.name, config.data.data_dir), "test").examples
    for example in (source[i] for i in range(8)):
        logits = blend(example["image"], 32, 24, compute)
        log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        for output, label in enumerate(objective.kept):
            pixels = example["mask"] == label
            loss -= log_probabilities[pixels, output].sum()
            confusion[output] += np.bincount(logits[pixels].argmax(-1), minlength=5)
    return confusion, loss / confusion.sum()


@pytest.mark.parametrize("flips", [False, True])
def test_metrics_are_those_of_blended_logits(flips, sliding_run):
    workdir, config, results = sliding_run
    confusion, loss = compute_reference(workdir, config, flips)
    metrics = evaluate_checkpoint(workdir, flips=flips)
    assert metrics["loss"] == pytest.approx(loss, rel=1e-5)
    assert metrics["OA"] == pytest.approx(np.trace(confusion) / confusion.sum(), abs=1e-4)
    if not flips:
        np.testing.assert_array_equal(results["confusion"], confusion)


def test_predictions_contain_the_confusion_matrix_of_each_image(sliding_run):
    workdir, config, results = sliding_run
    images = select_subset(open_dataset(config.data.name, config.data.data_dir), "test").images()
    kept = [i for i, name in enumerate(results["classes"]) if name != "clutter"]
    with np.load(workdir / "predictions.npz") as predictions:
        confusion, index = predictions["confusion"], predictions["index"]
    np.testing.assert_array_equal(confusion.sum(axis=0), results["confusion"])
    assert index.tolist() == [image.index for image in images]
    for one, image in zip(confusion, images, strict=True):
        mask = image.read(0, 0, image.height, image.width)["mask"]
        assert one.sum(axis=1).tolist() == [(mask == label).sum() for label in kept]


def test_every_labelled_pixel_counts_once(sliding_run, data_dir):
    _, config, results = sliding_run
    source = select_subset(open_dataset(config.data.name, data_dir), "test").examples
    labels = np.concatenate([source[i]["mask"].reshape(-1) for i in range(len(source))])
    kept = [i for i, name in enumerate(results["classes"]) if name != "clutter"]
    expected = [(labels == label).sum() for label in kept]
    np.testing.assert_array_equal(np.sum(results["confusion"], axis=1), expected)


def test_the_command_repeats_the_metrics_of_the_run(sliding_run, tmp_path):
    workdir, _, results = sliding_run
    file = tmp_path / "metrics.json"
    assert main(["--checkpoint", str(workdir), "--json", str(file)]) == 0
    assert json.loads(file.read_text()) == results["metrics"]


def test_stride_and_flips_can_be_overridden(sliding_run):
    workdir, _, results = sliding_run
    assert evaluate_checkpoint(workdir, stride=24, flips=False) == results["metrics"]
    others = [evaluate_checkpoint(workdir, stride=16), evaluate_checkpoint(workdir, flips=True)]
    assert len({metrics["loss"] for metrics in (results["metrics"], *others)}) == 3


def test_one_device_and_eight_have_the_same_metrics(sliding_run, monkeypatch):
    workdir, _, results = sliding_run
    expected = evaluate_checkpoint(workdir, flips=True)
    monkeypatch.setattr(
        "ssl_jax.runs.evaluation.make_data_mesh", lambda: make_data_mesh(jax.devices()[:1])
    )
    assert evaluate_checkpoint(workdir) == results["metrics"]
    assert evaluate_checkpoint(workdir, flips=True, batch_size=3) == expected


def test_without_a_window_the_examples_are_evaluated_separately(data_dir, tmp_path):
    """Predictions of each example are stored; a window as large as the images changes nothing."""
    config = make_sliding_config(data_dir)
    del config.evaluation
    results = train(config, tmp_path)
    with np.load(tmp_path / "predictions.npz") as rows:
        assert rows["index"].tolist() == parts.assemble_run(config).evaluation_source.rows.tolist()
        np.testing.assert_array_equal(rows["confusion"].sum(axis=0), results["confusion"])
    metrics = evaluate_checkpoint(tmp_path, stride=64)
    assert metrics["loss"] == pytest.approx(results["metrics"]["loss"], rel=1e-5)
    assert metrics["OA"] == pytest.approx(results["metrics"]["OA"], abs=1e-4)


def test_a_shutdown_request_interrupts_the_evaluation(sliding_run):
    workdir, config, _ = sliding_run
    run = parts.assemble_run(config)
    variables = replicate(loading.load_variables(workdir), run.mesh)
    with ShutdownSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped):
            run.image_evaluation(variables, stop)


def test_images_are_evaluated_during_training(data_dir, tmp_path):
    config = make_sliding_config(data_dir)
    config.every.evaluate = 1
    results = train(config, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    records = [line for line in lines if line["phase"] == "evaluation"]
    assert [record["step"] for record in records] == [1, 2]
    assert records[1]["mIoU"] == results["metrics"]["mIoU"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"stride": 33},
            "config.evaluation: stride: found 33 with a window of 32 pixels; expected 1 to 32",
        ),
        ({"flip": True}, "config.evaluation.flip: no such field; did you mean flips?"),
    ],
)
def test_an_invalid_field_is_an_error(change, message, data_dir):
    with pytest.raises(UserError) as error:
        parts.assemble_run(make_sliding_config(data_dir, **change))
    assert message in str(error.value)


def test_a_sliding_window_requires_segmentation(data_dir):
    config = make_small_config("classification", data_dir)
    config.evaluation = {"window": 32, "stride": 24}
    with pytest.raises(UserError, match="with objective classification; expected objective segm"):
        parts.assemble_run(config)
