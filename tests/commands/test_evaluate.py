import json
import subprocess
import sys

import pytest

from data_pipelines.errors import UserError
from ssl_jax.evaluate import main
from ssl_jax.runs import evaluation
from ssl_jax.runs.evaluation import evaluate_checkpoint


@pytest.fixture(scope="module")
def classifier(trained):
    workdir, _, results = trained("classification")
    return workdir, results


def test_metrics_of_the_checkpoint_equal_those_of_the_run(classifier):
    workdir, results = classifier
    metrics = evaluate_checkpoint(workdir)
    assert metrics["top1"] == pytest.approx(results["metrics"]["top1"])
    assert metrics["loss"] == pytest.approx(results["metrics"]["loss"], rel=1e-5)


def test_another_split_can_be_evaluated(classifier):
    workdir, _ = classifier
    halves = [
        evaluate_checkpoint(workdir, split=split)["top1"] for split in ("all[5:5]", "all[5:5].rest")
    ]
    assert evaluate_checkpoint(workdir, split="all")["top1"] == pytest.approx(sum(halves) / 2)


def test_the_command_prints_and_writes_the_metrics(classifier, tmp_path, capsys):
    workdir, results = classifier
    file = tmp_path / "metrics.json"
    assert main(["--checkpoint", str(workdir), "--json", str(file)]) == 0
    assert "top1" in capsys.readouterr().out
    assert json.loads(file.read_text())["top1"] == pytest.approx(results["metrics"]["top1"])


def test_a_figure_of_a_class_that_does_not_occur_is_null(classifier, tmp_path, monkeypatch):
    file = tmp_path / "metrics.json"
    metrics = {"OA": 0.5, "IoU/ice": float("nan")}
    monkeypatch.setattr(evaluation, "evaluate_checkpoint", lambda *arguments: metrics)
    assert main(["--checkpoint", str(classifier[0]), "--json", str(file)]) == 0
    assert file.read_text() == '{\n  "OA": 0.5,\n  "IoU/ice": null\n}\n'


def test_a_dataset_with_other_classes_is_rejected(classifier, data_dir):
    with pytest.raises(
        UserError, match=r"demo_aerial/tiny: found the classes .* checkpoint expects"
    ):
        evaluate_checkpoint(classifier[0], dataset="demo_aerial/tiny", split="test")


def test_a_dataset_without_the_bands_is_rejected(classifier):
    with pytest.raises(UserError, match="nir"):
        evaluate_checkpoint(classifier[0], dataset="demo_objects/tiny", split="all")


def test_a_folder_without_checkpoint_exits_with_2_and_one_line(tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "ssl_jax.evaluate", "--checkpoint", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 2
    assert process.stderr.startswith(f"error: {tmp_path} holds no checkpoint")
    assert len(process.stderr.splitlines()) == 1
