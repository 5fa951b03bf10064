"""A search over learning rates: what it tries, chooses, records and never looks at."""

import json
import os
import signal

import numpy as np
import pytest
from small import assert_same_run, small

from data_pipelines.errors import UserError
from data_pipelines.sources.records import RecordSource
from ssl_jax.checkpoints import loading
from ssl_jax.runs import parts, search
from ssl_jax.runs.training import train
from ssl_jax.training import loop
from ssl_jax.training.divergence import Diverged
from ssl_jax.training.shutdown import ShutdownSignal, Stopped

RATES = (0.003, 1e-4)


def searching(data_dir, kind="classification", rates=RATES):
    config = small(kind, data_dir)
    config.search = {"learning_rates": rates, "validation": "20%"}
    return config


@pytest.fixture(scope="module")
def searched(data_dir, tmp_path_factory):
    """A run after a search, its config and results."""
    folder = tmp_path_factory.mktemp("searched") / "run"
    config = searching(data_dir)
    return folder, config, train(config, folder)


def told(*figures):
    """A way to train that comes out as told: {rate: figure, or what it raises}."""
    tried = []

    def train(config, folder):
        rate = config.optimizer.learning_rate
        tried.append(rate)
        figure = dict(figures)[rate]
        if isinstance(figure, BaseException):
            raise figure
        results = {"metrics": {"loss": 1.0, "top1": figure}, "steps": 5, "cost": {"seconds": 1.0}}
        return results

    return train, tried


def choose(config, folder, *figures):
    """The record of a search that comes out as told, and which rates were tried."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    runs, (way, tried) = search.make_candidates(config), told(*figures)
    return search.search_learning_rate(runs, folder, way), tried


def test_candidates_train_on_a_part_of_the_training_side_and_are_judged_on_its_rest(data_dir):
    config = searching(data_dir)
    runs = search.make_candidates(config)
    assert [rate for rate, _ in runs] == sorted(RATES)
    for rate, candidate in runs:
        assert candidate.optimizer.learning_rate == rate
        assert candidate.data.train == "all[5:5][80%]"
        assert candidate.data.evaluation == "all[5:5][80%].rest"
        assert not candidate.search.learning_rates
    whole, part = parts.assemble_run(config), parts.assemble_run(runs[0][1])
    train, test = (set(s.example_ids()) for s in (whole.source, whole.evaluation_source))
    inner, judged = (set(s.example_ids()) for s in (part.source, part.evaluation_source))
    assert inner | judged == train
    assert not inner & judged
    assert not judged & test


def test_whole_pictures_are_kept_aside_for_segmentation(data_dir):
    config = searching(data_dir, "segmentation")
    config.batch_size = 8
    runs = search.make_candidates(config)
    assert runs[0][1].data.evaluation == "train[80% of images].rest"


def test_no_test_example_is_read_before_the_choice(data_dir, tmp_path, monkeypatch):
    config = searching(data_dir)
    test = set(parts.assemble_run(config).evaluation_source.rows)
    read = {False: set(), True: set()}  # whether all candidates are done -> examples
    record, get = tmp_path / "search.json", RecordSource.__getitem__

    def noted(source, position):
        done = len(json.loads(record.read_text())["candidates"]) if record.exists() else 0
        read[done == len(RATES)].add(int(source.rows[position]))
        return get(source, position)

    monkeypatch.setattr(RecordSource, "__getitem__", noted)
    train(config, tmp_path)
    assert read[False]
    assert not read[False] & test
    assert test <= read[True]


def test_the_winner_is_trained_on_the_whole_training_side(searched, data_dir, tmp_path):
    folder, _, results = searched
    plain = small("classification", data_dir)
    plain.optimizer.learning_rate = results["search"]["learning_rate"]
    train(plain, tmp_path)
    assert_same_run(folder, tmp_path, tolerance=0)


def test_the_choice_is_recorded_with_all_figures(searched):
    folder, _, results = searched
    found = results["search"]
    assert found == json.loads((folder / "search.json").read_text())
    assert found["metric"] == "top1"
    assert found["validation"] == "all[5:5][80%].rest"
    assert [c["learning_rate"] for c in found["candidates"]] == sorted(RATES)
    for outcome in found["candidates"]:
        its = folder / f"search/learning_rate={outcome['learning_rate']:g}"
        written = json.loads((its / "results.json").read_text())
        assert written["metrics"]["top1"] == outcome["figure"]
        assert {p.name for p in its.iterdir()} >= {"config.json", "metrics.jsonl", "results.json"}
        assert not (its / "checkpoints").exists()
    best = max(found["candidates"], key=lambda c: c["figure"])["figure"]
    chosen = [c for c in found["candidates"] if c["learning_rate"] == found["learning_rate"]]
    assert chosen[0]["figure"] == best


def test_config_card_and_results_state_the_rate_that_was_used(searched):
    folder, config, results = searched
    rate = results["search"]["learning_rate"]
    assert rate != config.optimizer.learning_rate
    assert results["config"]["optimizer"]["learning_rate"] == rate
    assert json.loads((folder / "config.json").read_text())["optimizer"]["learning_rate"] == rate
    assert loading.load_card(folder)["config"]["optimizer"]["learning_rate"] == rate


def test_the_same_command_finds_the_run_done_and_another_search_is_refused(searched, data_dir):
    folder, config, results = searched
    assert train(config, folder) == json.loads(json.dumps(results))
    with pytest.raises(UserError, match=r"config\.search\.learning_rates = \[0\.003"):
        train(searching(data_dir, rates=(0.003,)), folder)


def test_a_search_that_was_interrupted_goes_on(searched, data_dir, tmp_path, monkeypatch):
    """Stopped in the second candidate, started again: the figures of the undisturbed search."""
    config, begun, undisturbed = searching(data_dir), [], loop.train

    def interrupt(*arguments, **options):
        begun.append(options["steps"])
        if len(begun) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return undisturbed(*arguments, **options)

    monkeypatch.setattr(loop, "train", interrupt)
    with ShutdownSignal() as stop, pytest.raises(Stopped):
        train(config, tmp_path / "run", stop)
    assert len(json.loads((tmp_path / "run/search.json").read_text())["candidates"]) == 1
    results = train(config, tmp_path / "run")
    assert len(begun) == 4  # the second candidate twice, the first one once, and the run
    one, other = results["search"], searched[2]["search"]
    assert one["learning_rate"] == other["learning_rate"]
    for first, second in zip(one["candidates"], other["candidates"], strict=True):
        assert first["figure"] == second["figure"]
    assert_same_run(tmp_path / "run", searched[0], tolerance=0)


def test_equal_figures_choose_the_smaller_rate(data_dir, tmp_path):
    config = searching(data_dir, rates=(0.1, 0.01, 0.001))
    found, tried = choose(config, tmp_path, (0.001, 0.4), (0.01, 0.5), (0.1, 0.5))
    assert found["learning_rate"] == 0.01
    assert tried == [0.001, 0.01, 0.1]


def test_a_candidate_that_diverges_is_recorded_and_loses(data_dir, tmp_path):
    config = searching(data_dir, rates=(0.1, 0.01, 0.001))
    figures = [(0.001, 0.0), (0.01, Diverged(3, np.nan)), (0.1, np.nan)]
    found, _ = choose(config, tmp_path, *figures)
    assert found["learning_rate"] == 0.001
    assert found["candidates"][1]["diverged"] == "the loss of step 3 is nan"
    assert found["candidates"][2]["diverged"] == "its top1 is nan"


def test_what_is_recorded_is_not_tried_again(data_dir, tmp_path):
    config = searching(data_dir)
    with pytest.raises(KeyboardInterrupt):
        choose(config, tmp_path, (1e-4, 0.5), (0.003, KeyboardInterrupt()))
    found, tried = choose(config, tmp_path, (0.003, 0.6))
    assert tried == [0.003]
    assert [outcome["figure"] for outcome in found["candidates"]] == [0.5, 0.6]


def test_a_search_in_which_all_diverge_says_so(data_dir, tmp_path):
    with pytest.raises(Diverged, match=r"all learning rates of config\.search diverged"):
        choose(searching(data_dir), tmp_path, *((rate, Diverged(1, np.inf)) for rate in RATES))


@pytest.mark.parametrize(
    ("kind", "section", "message"),
    [
        ("mae", {"learning_rates": RATES}, "objective mae, whose runs have no figure"),
        ("classification", {"learning_rates": (0.1, 0.1)}, "that are all different"),
        ("classification", {"learning_rates": (0.1, -1.0)}, "expected positive numbers"),
        ("classification", {"validation": "2:8"}, "config.search.validation: found '2:8'"),
        ("classification", {"validation": "100%"}, "config.search.validation: found '100%'"),
        ("classification", {"validation": "70%"}, "'all[5:5][30%]' of dataset"),
    ],
)
def test_a_mistake_is_told_before_anything_is_written(kind, section, message, data_dir, tmp_path):
    config = searching(data_dir, kind)
    config.search.update(section)
    with pytest.raises(UserError) as mistake:
        train(config, tmp_path / "run")
    assert message in str(mistake.value)
    assert not (tmp_path / "run").exists()
