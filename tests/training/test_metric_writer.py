import json

from data_pipelines.files.writing import write_json
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
