"""The study of label fractions: its table cells, configs and splits, and the report of a row."""

import json

import pytest
from small_configs import VIT

from data_pipelines.errors import UserError
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset
from ssl_jax.reporting import report
from ssl_jax.runs.config import load_config
from ssl_jax.studies.execution import execute_study, load_study
from ssl_jax.studies.plan import select_runs

FILE = "configs/study/labels.py"


def load(setting="", *overrides):
    config = load_config(FILE + setting, overrides)
    return load_study(FILE + setting, config)


@pytest.mark.parametrize("setting", ["", ":frozen"])
def test_table_cells_have_their_runs_and_transfer_runs_matching_backbones(setting):
    plan = load(setting)
    runs = {run.name: run for run in plan.runs}
    table = plan.tables[0]
    assert table.columns == ("1% of the labels", "10% of the labels", "100% of the labels")
    cells = [cell for row in table.rows for cell in row.cells]
    transfers = [name for cell in cells for name in cell.runs]
    assert sorted(transfers) == sorted(name for name in runs if not name.startswith("pretrain/"))
    assert [row.baseline for row in table.rows] == [False, False, True, True]
    for run in plan.runs:
        for name in run.needs:
            own, pretrained = (r.config.model.backbone for r in (run, runs[name]))
            for field in set(pretrained) - {"drop_path", "pool"}:
                assert own[field] == pretrained[field]
        if run.name in transfers:
            assert run.config.objective.frozen is (setting == ":frozen")
            assert run.config.data.evaluation == "all[8:2].rest"
            assert run.config.seed == run.config.data.split_seed
    mae = runs["labels/mae_vitb_ben4/10-percent/seed1"].config
    assert mae.data.train == "all[8:2][10%]"
    assert mae.batch_size == 256
    if not setting:
        assert mae.model.backbone.pool == "mean"
        assert mae.optimizer.layer_decay == 0.65
        random = runs["labels/random_resnet50/10-percent/seed1"].config
        simclr = runs["labels/simclr_resnet50_ben4/10-percent/seed1"].config
        assert random.optimizer == simclr.optimizer


def test_the_weights_of_an_earlier_study_replace_pretraining():
    plan = load("", "mae_bundle=/there", "seeds=(0,)")
    assert [run.name for run in plan.runs if run.name.startswith("pretrain/")] == [
        "pretrain/simclr_resnet50_ben4"
    ]
    mae_runs = [run for run in plan.runs if "mae" in run.name]
    assert {run.config.pretrained for run in mae_runs} == {"/there"}
    assert not any(run.needs for run in mae_runs)


def test_an_unknown_protocol_is_rejected():
    with pytest.raises(UserError, match="labels:linear: expected one of finetune, frozen"):
        load(":linear")


def test_the_fractions_are_nested_and_disjoint_from_the_test_split(data_dir):
    scenes = open_dataset("demo_scenes/tiny", data_dir)
    plan = load("", "fractions=('2%','10%','100%')")
    configs = {run.name: run.config for run in plan.runs}
    for seed in (0, 1, 2):
        data = [configs[f"labels/random_vitb/{n}-percent/seed{seed}"].data for n in (2, 10, 100)]
        splits = [*(d.train for d in data), data[0].evaluation]
        *train, test = (set(select_subset(scenes, s, seed).examples.example_ids()) for s in splits)
        assert [len(ids) for ids in train] == [1, 6, 64]
        assert train[0] < train[1] < train[2]
        assert not train[2] & test


def test_a_row_is_trained_and_reported(data_dir, tmp_path, on_devices):
    on_devices(1)
    config = load_config(
        f"{FILE}:frozen", ["seeds=(0,)", "fractions=('20%','100%')", "batch_sizes=(8,16)"]
    )
    config.data_dir = str(data_dir)
    config.mae.model.backbone.update(VIT)
    config.vitb.data.update(name="demo_scenes/tiny", threads=0)
    config.vitb.epochs, config.vitb.steps = 0.0, 10
    config.vitb.search.learning_rates = ()
    for views in config.vitb.augment.values():
        views.size = 32
    plan = load_study(FILE, config)
    execute_study(plan, tmp_path, select_runs(plan.runs, "labels/random_vitb"))
    report.write_report(tmp_path)
    page = (tmp_path / "report.md").read_text()
    assert "| 20% of the labels | 100% of the labels |" in page
    assert "20% of the labels: 12 training and 16 test examples" in page
    assert "100% of the labels: 64 training and 16 test examples" in page
    table = json.loads((tmp_path / "results.json").read_text())["tables"]["labels"]
    row = table["rows"]["ViT-B, random weights"]
    assert [row[column]["ours"]["seeds"] for column in row] == [1, 1]
    assert table["rows"]["MAE ViT-B, BEN4"]["20% of the labels"]["ours"] is None
