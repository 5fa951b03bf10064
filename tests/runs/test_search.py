"""The learning rate search: its candidates, its choice, its record, and what it never reads."""

import json
import os
import signal

import numpy as np
import pytest
from small_configs import assert_same_run, make_small_config

from data_pipelines.errors import UserError
from data_pipelines.sources.records import RecordSource
from ssl_jax.checkpoints import loading
from ssl_jax.runs import parts, search
from ssl_jax.runs.training import train
from ssl_jax.training import loop
from ssl_jax.training.divergence import Diverged
from ssl_jax.training.shutdown import ShutdownSignal, Stopped

RATES = (0.003, 1e-4)


def make_search_config(data_dir, kind="classification", rates=RATES):
    config = make_small_config(kind, data_dir)
    config.search = {"learning_rates": rates, "validation": "20%"}
    return config


@pytest.fixture(scope="module")
def searched(data_dir, tmp_path_factory):
    """The workdir, config and results of a run with a search."""
    folder = tmp_path_factory.mktemp("searched") / "run"
    config = make_search_config(data_dir)
    return folder, config, train(config, folder)


def fake_training(*outcomes):
    """Return a fake `train` with the given outcomes, and the list of rates that it is called with.

    An outcome is a pair of a learning rate and the top-1 accuracy that results, or an exception.
    """
    tried = []

    def train(config, folder):
        rate = config.optimizer.learning_rate
        tried.append(rate)
        top1 = dict(outcomes)[rate]
        if isinstance(top1, BaseException):
            raise top1
        return {"metrics": {"loss": 1.0, "top1": top1}, "steps": 5, "cost": {"seconds": 1.0}}

    return train, tried


def search_with(config, folder, *outcomes):
    """Search with `fake_training`; return the record of the search and the rates it tried."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    candidates, (fake_train, tried) = search.make_candidates(config), fake_training(*outcomes)
    return search.search_learning_rate(candidates, folder, fake_train), tried


def test_candidates_train_on_a_fraction_of_the_training_split_and_validate_on_its_rest(data_dir):
    config = make_search_config(data_dir)
    runs = search.make_candidates(config)
    assert [rate for rate, _ in runs] == sorted(RATES)
    for rate, candidate in runs:
        assert candidate.optimizer.learning_rate == rate
        assert candidate.data.train == "all[5:5][80%]"
        assert candidate.data.evaluation == "all[5:5][80%].rest"
        assert not candidate.search.learning_rates
    run, candidate = parts.assemble_run(config), parts.assemble_run(runs[0][1])
    train, test = (set(s.example_ids()) for s in (run.source, run.evaluation_source))
    inner, validation = (
        set(s.example_ids()) for s in (candidate.source, candidate.evaluation_source)
    )
    assert inner | validation == train
    assert not inner & validation
    assert not validation & test


def test_segmentation_validates_on_whole_images(data_dir):
    config = make_search_config(data_dir, "segmentation")
    config.batch_size = 8
    runs = search.make_candidates(config)
    assert runs[0][1].data.evaluation == "train[80% of images].rest"


def test_no_test_example_is_read_before_all_candidates_are_finished(
    data_dir, tmp_path, monkeypatch
):
    config = make_search_config(data_dir)
    test = set(parts.assemble_run(config).evaluation_source.rows)
    read = {False: set(), True: set()}  # examples, by whether all candidates are finished
    record, get = tmp_path / "search.json", RecordSource.__getitem__

    def recording_getitem(source, position):
        finished = len(json.loads(record.read_text())["candidates"]) if record.exists() else 0
        read[finished == len(RATES)].add(int(source.rows[position]))
        return get(source, position)

    monkeypatch.setattr(RecordSource, "__getitem__", recording_getitem)
    train(config, tmp_path)
    assert read[False]
    assert not read[False] & test
    assert test <= read[True]


def test_the_best_rate_is_trained_on_the_whole_training_split(searched, data_dir, tmp_path):
    folder, _, results = searched
    plain = make_small_config("classification", data_dir)
    plain.optimizer.learning_rate = results["search"]["learning_rate"]
    train(plain, tmp_path)
    assert_same_run(folder, tmp_path, tolerance=0)


def test_the_choice_is_recorded_with_the_metrics_of_all_candidates(searched):
    folder, _, results = searched
    record = results["search"]
    assert record == json.loads((folder / "search.json").read_text())
    assert record["metric"] == "top1"
    assert record["validation"] == "all[5:5][80%].rest"
    assert [c["learning_rate"] for c in record["candidates"]] == sorted(RATES)
    for candidate in record["candidates"]:
        workdir = folder / f"search/learning_rate={candidate['learning_rate']:g}"
        written = json.loads((workdir / "results.json").read_text())
        assert written["metrics"]["top1"] == candidate["figure"]
        assert {p.name for p in workdir.iterdir()} >= {
            "config.json",
            "metrics.jsonl",
            "results.json",
        }
        assert not (workdir / "checkpoints").exists()
    best = max(record["candidates"], key=lambda c: c["figure"])["figure"]
    chosen = [c for c in record["candidates"] if c["learning_rate"] == record["learning_rate"]]
    assert chosen[0]["figure"] == best


def test_config_card_and_results_have_the_chosen_rate(searched):
    folder, config, results = searched
    rate = results["search"]["learning_rate"]
    assert rate != config.optimizer.learning_rate
    assert results["config"]["optimizer"]["learning_rate"] == rate
    assert json.loads((folder / "config.json").read_text())["optimizer"]["learning_rate"] == rate
    assert loading.load_card(folder)["config"]["optimizer"]["learning_rate"] == rate


def test_a_finished_search_is_left_unchanged_and_another_one_is_refused(searched, data_dir):
    folder, config, results = searched
    assert train(config, folder) == json.loads(json.dumps(results))
    with pytest.raises(UserError, match=r"config\.search\.learning_rates = \[0\.003"):
        train(make_search_config(data_dir, rates=(0.003,)), folder)


def test_a_resumed_search_repeats_the_uninterrupted_one(searched, data_dir, tmp_path, monkeypatch):
    """Interrupted in the second candidate and resumed, it has the same metrics."""
    config, started, original_train = make_search_config(data_dir), [], loop.train

    def interrupt(*arguments, **options):
        started.append(options["steps"])
        if len(started) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original_train(*arguments, **options)

    monkeypatch.setattr(loop, "train", interrupt)
    with ShutdownSignal() as stop, pytest.raises(Stopped):
        train(config, tmp_path / "run", stop)
    assert len(json.loads((tmp_path / "run/search.json").read_text())["candidates"]) == 1
    results = train(config, tmp_path / "run")
    assert len(started) == 4  # the second candidate twice, the first one once, and the run
    resumed, expected = results["search"], searched[2]["search"]
    assert resumed["learning_rate"] == expected["learning_rate"]
    for first, second in zip(resumed["candidates"], expected["candidates"], strict=True):
        assert first["figure"] == second["figure"]
    assert_same_run(tmp_path / "run", searched[0], tolerance=0)


def test_of_equal_metrics_the_smaller_rate_is_chosen(data_dir, tmp_path):
    config = make_search_config(data_dir, rates=(0.1, 0.01, 0.001))
    record, tried = search_with(config, tmp_path, (0.001, 0.4), (0.01, 0.5), (0.1, 0.5))
    assert record["learning_rate"] == 0.01
    assert tried == [0.001, 0.01, 0.1]


def test_a_candidate_that_diverges_is_recorded_and_loses(data_dir, tmp_path):
    config = make_search_config(data_dir, rates=(0.1, 0.01, 0.001))
    outcomes = [(0.001, 0.0), (0.01, Diverged(3, np.nan)), (0.1, np.nan)]
    record, _ = search_with(config, tmp_path, *outcomes)
    assert record["learning_rate"] == 0.001
    assert record["candidates"][1]["diverged"] == "the loss of step 3 is nan"
    assert record["candidates"][2]["diverged"] == "its top1 is nan"


def test_recorded_candidates_are_not_trained_again(data_dir, tmp_path):
    config = make_search_config(data_dir)
    with pytest.raises(KeyboardInterrupt):
        search_with(config, tmp_path, (1e-4, 0.5), (0.003, KeyboardInterrupt()))
    record, tried = search_with(config, tmp_path, (0.003, 0.6))
    assert tried == [0.003]
    assert [outcome["figure"] for outcome in record["candidates"]] == [0.5, 0.6]


def test_a_search_in_which_all_candidates_diverge_is_an_error(data_dir, tmp_path):
    with pytest.raises(Diverged, match=r"all learning rates of config\.search diverged"):
        search_with(
            make_search_config(data_dir), tmp_path, *((rate, Diverged(1, np.inf)) for rate in RATES)
        )


@pytest.mark.parametrize(
    ("kind", "section", "message"),
    [
        ("mae", {"learning_rates": RATES}, "objective mae, which has no metric"),
        ("classification", {"learning_rates": (0.1, 0.1)}, "expected distinct, positive, finite"),
        ("classification", {"learning_rates": (0.1, -1.0)}, "expected distinct, positive, finite"),
        ("classification", {"validation": "2:8"}, "config.search.validation: found '2:8'"),
        ("classification", {"validation": "100%"}, "config.search.validation: found '100%'"),
        ("classification", {"validation": "70%"}, "'all[5:5][30%]' of dataset"),
    ],
)
def test_an_invalid_search_is_refused_before_anything_is_written(
    kind, section, message, data_dir, tmp_path
):
    config = make_search_config(data_dir, kind)
    config.search.update(section)
    with pytest.raises(UserError) as error:
        train(config, tmp_path / "run")
    assert message in str(error.value)
    assert not (tmp_path / "run").exists()
