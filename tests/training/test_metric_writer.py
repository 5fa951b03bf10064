import json
import math

import numpy as np

from data_pipelines.files.writing import write_json
from ssl_jax.runs.results import write_results
from ssl_jax.runs.workdir import read_results
from ssl_jax.training.metric_writer import MetricWriter, read_records


def test_records_after_the_checkpoint_that_a_run_resumes_from_are_dropped(tmp_path):
    with MetricWriter(tmp_path, start=0, steps=10, batch_size=4) as writer:
        for step in (2, 4, 6):
            writer.write(step, "train", {"loss": float(step)})
    with MetricWriter(tmp_path, start=4, steps=10, batch_size=4) as writer:
        writer.write(6, "train", {"loss": 60.0})
    records = read_records(tmp_path / "metrics.jsonl")
    assert [(r["step"], r["loss"]) for r in records] == [(2, 2.0), (4, 4.0), (6, 60.0)]


def test_a_truncated_last_line_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "phase": "train", "loss": 1.0}\n{"step": 2, "pha')
    assert [record["step"] for record in read_records(path)] == [1]


def test_write_json_leaves_no_temporary_file(tmp_path):
    path = tmp_path / "results.json"
    write_json(path, {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def refuse_constant(name):
    raise AssertionError(f"{name} is no JSON")


def test_figures_that_are_not_finite_are_null_and_read_as_nan(tmp_path):
    with MetricWriter(tmp_path, start=0, steps=4, batch_size=4) as writer:
        writer.write(2, "evaluation", {"IoU/ice": math.nan, "loss": math.inf, "OA": 0.5})
    with MetricWriter(tmp_path, start=2, steps=4, batch_size=4) as writer:
        writer.write(4, "evaluation", {"OA": 0.6})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    first = json.loads(lines[0], parse_constant=refuse_constant)
    assert first == {"step": 2, "phase": "evaluation", "IoU/ice": None, "loss": None, "OA": 0.5}
    records = read_records(tmp_path / "metrics.jsonl")
    assert math.isnan(records[0]["IoU/ice"])
    assert records[1]["OA"] == 0.6


def test_results_are_json_without_nan_and_read_back(tmp_path):
    metrics = {"mIoU": 0.5, "IoU/ice": np.float64("nan")}
    write_results({"metrics": metrics, "train": {"last_loss": math.inf}}, tmp_path)
    text = (tmp_path / "results.json").read_text()
    assert json.loads(text, parse_constant=refuse_constant)["metrics"]["IoU/ice"] is None
    results = read_results(tmp_path)
    assert results["metrics"]["mIoU"] == 0.5
    assert math.isnan(results["metrics"]["IoU/ice"])
