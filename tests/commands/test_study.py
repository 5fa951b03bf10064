"""The order of a study, what it skips and what it survives: with runs that are only pretended."""

import json
from dataclasses import replace

import pytest
from ml_collections import ConfigDict

from data_pipelines.errors import UserError
from data_pipelines.files.writing import write_json
from ssl_jax import study as door
from ssl_jax.runs.config import load_config
from ssl_jax.studies.execution import execute_study, load_study
from ssl_jax.studies.plan import Run, Study, select_runs
from ssl_jax.studies.states import check_runnable, read_states

QUICKSTART = "configs/study/quickstart.py"


def run(name, *needs, **fields):
    config = ConfigDict({"data": {"name": "nowhere", "data_dir": ""}, "pretrained": "", "seed": 0})
    return Run(name, config, needs, **fields)


CHAIN = Study(
    "a chain and a bystander",
    (
        run("pretrain/a"),
        run("pretrain/b"),
        run("scenes/a/2-8/seed0", "pretrain/a"),
        run("scenes/a/8-2/seed0", "pretrain/a"),
        run("scenes/b/2-8/seed0", "pretrain/b"),
    ),
    (),
)


class Pretended:
    """Stands for `train`: remembers what it was asked for and fails where it is told to."""

    def __init__(self, *failing):
        self.asked = []
        self.failing = failing

    def __call__(self, config, folder):
        name = folder.parts[-1] if folder.parent.name == "pretrain" else folder.parts[-3]
        self.asked.append("/".join(folder.parts[folder.parts.index("study") + 1 :]))
        write_json_in(folder, "config.json", {**config.to_dict(), "pretrained": ""})
        if name in self.failing:
            raise RuntimeError(f"{name} does not\nwork")
        results = {"metrics": {"top1": 0.5}, "train": {"first_loss": 2.0, "last_loss": 1.0}}
        write_json_in(folder, "results.json", results)
        return {**results, "pretrained": config.pretrained}


def write_json_in(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / name, content)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "study"


def words(folder, plan=CHAIN):
    return [state.status for state in read_states(plan.runs, folder).values()]


def test_runs_are_done_in_order_each_from_the_backbone_it_needs(folder):
    started_from = {}

    def train(config, workdir):
        started_from[str(workdir.relative_to(folder))] = config.pretrained
        return Pretended()(config, workdir)

    execute_study(CHAIN, folder, train=train)
    assert list(started_from) == [r.name for r in CHAIN.runs]
    assert started_from["scenes/a/8-2/seed0"] == str(folder / "pretrain/a")
    assert words(folder) == ["done"] * 5


def test_runs_that_are_done_are_skipped(folder):
    execute_study(CHAIN, folder, train=Pretended())
    again = Pretended()
    execute_study(CHAIN, folder, train=again)
    assert again.asked == []


def test_a_failed_run_blocks_those_that_need_it_and_no_other(folder):
    pretended = Pretended("a")
    after = execute_study(CHAIN, folder, train=pretended)
    assert [state.status for state in after.values()] == [
        "failed", "done", "blocked", "blocked", "done",
    ]  # fmt: skip
    assert after["pretrain/a"].detail == "RuntimeError: a does not work"
    assert "Traceback" in (folder / "pretrain/a/failure.txt").read_text()


def test_a_failed_run_is_tried_again_and_then_those_that_need_it(folder):
    execute_study(CHAIN, folder, train=Pretended("a"))
    mended = Pretended()
    execute_study(CHAIN, folder, train=mended)
    assert mended.asked == ["pretrain/a", "scenes/a/2-8/seed0", "scenes/a/8-2/seed0"]
    assert words(folder) == ["done"] * 5


def test_a_users_mistake_is_kept_in_one_line_without_a_traceback(folder):
    def train(config, workdir):
        raise UserError("dataset nowhere: not prepared")

    execute_study(CHAIN, folder, train=train)
    assert (folder / "pretrain/a/failure.txt").read_text() == "dataset nowhere: not prepared\n"


def test_a_run_that_awaits_weights_is_left_alone_and_says_what_to_do(folder):
    plan = Study("", (run("given", awaits="bring weights"), run("after", "given")), ())
    pretended = Pretended()
    after = execute_study(plan, folder, train=pretended)
    assert pretended.asked == []
    assert after["given"].status == "needs weights"
    assert after["given"].detail == "bring weights"
    assert after["after"].status == "blocked"


def test_an_interrupted_run_tells_how_far_it_came(folder):
    (folder / "pretrain/a/checkpoints/40").mkdir(parents=True)
    (folder / "pretrain/a/checkpoints/120").mkdir()
    state = read_states(CHAIN.runs, folder)["pretrain/a"]
    assert (state.status, state.detail) == ("part-way", "at step 120")


def test_a_search_that_was_interrupted_tells_how_far_it_came(folder):
    for rate in ("0.001", "0.01"):
        (folder / f"pretrain/a/search/learning_rate={rate}").mkdir(parents=True)
    (folder / "pretrain/a/search/learning_rate=0.001/results.json").write_text("{}")
    state = read_states(CHAIN.runs, folder)["pretrain/a"]
    assert (state.status, state.detail) == ("part-way", "learning rates tried: 1")


def test_a_workdir_of_another_config_is_refused_before_anything_runs(folder):
    execute_study(CHAIN, folder, train=Pretended())
    changed = run("pretrain/a")
    changed.config.seed = 7
    other = replace(CHAIN, runs=(changed, *CHAIN.runs[1:]))
    with pytest.raises(UserError, match=r"config\.seed = 0, this one has 7"):
        execute_study(other, folder, train=Pretended())


@pytest.mark.parametrize(
    ("pattern", "count"),
    [("pretrain/a", 1), ("scenes", 3), ("scenes/a/", 2), ("*/8-2/*", 1), ("*", 5)],
)
def test_only_takes_a_name_a_folder_or_a_pattern(pattern, count):
    assert len(select_runs(CHAIN.runs, pattern)) == count


def test_only_names_a_pattern_that_fits_no_run():
    with pytest.raises(UserError, match="--only scenes/aa: the study has no such run"):
        select_runs(CHAIN.runs, "scenes/aa")


def test_only_refuses_a_run_whose_need_is_not_done(folder):
    chosen = select_runs(CHAIN.runs, "scenes/a")
    with pytest.raises(UserError, match=r"needs pretrain/a, which is not done \(waiting\)"):
        check_runnable(chosen, read_states(CHAIN.runs, folder))
    execute_study(CHAIN, folder, select_runs(CHAIN.runs, "pretrain/a"), Pretended())
    check_runnable(chosen, read_states(CHAIN.runs, folder))


def test_a_study_refuses_a_need_that_does_not_come_before():
    with pytest.raises(UserError, match="needs z, which does not come before it"):
        Study("", (run("a", "z"), run("z")), ())


def load(path):
    return load_study(path, load_config(path))


@pytest.mark.parametrize("path", ["configs/study/paper.py", QUICKSTART, f"{QUICKSTART}:smallest"])
def test_every_cell_of_both_tables_has_its_runs_and_every_transfer_the_backbone_it_needs(path):
    plan = load(path)
    runs = {r.name: r for r in plan.runs}
    cells = [cell for table in plan.tables for row in table.rows for cell in row.cells]
    assert len(plan.tables[0].rows) == 7
    assert len(plan.tables[1].rows) == 4
    filled = {name for cell in cells for name in cell.runs}
    assert filled == {name for name in runs if not name.startswith("pretrain/")}
    for r in plan.runs:
        for name in r.needs:
            mine, theirs = (x.config.model.backbone.to_dict() for x in (r, runs[name]))
            # These don't make it another network: what is dropped, and how tokens are pooled.
            for of_the_transfer in ("drop_path", "pool"):
                theirs.pop(of_the_transfer, None)
            assert {**mine, **theirs} == mine
            assert r.config.data.bands == runs[name].config.data.bands


def test_the_papers_figures_stand_in_table_1():
    rows = load("configs/study/paper.py").tables[0].rows
    published = [[cell.published for cell in row.cells] for row in rows]
    assert published[:4] == [
        [92.85, 93.64, 94.05],
        [92.25, 93.37, 94.45],
        [92.90, 95.59, 97.13],
        [93.28, 96.11, 98.30],
    ]
    assert published[4:] == [[None] * 3] * 3


def test_imagenet_weights_are_asked_for_until_they_are_given(tmp_path):
    awaiting = [r for r in load("configs/study/paper.py").runs if r.awaits]
    assert {r.name.split("/")[1] for r in awaiting} == {"resnet50_imagenet_rgb"}
    config = load_config("configs/study/paper.py", ["imagenet=/weights", "seeds=(0,)"])
    runs = load_study("configs/study/paper.py", config).runs
    given = [r for r in runs if "imagenet" in r.name]
    assert not any(r.awaits for r in runs)
    assert {r.config_in(tmp_path).pretrained for r in given} == {"/weights"}


def test_fields_of_a_section_reach_the_runs():
    config = load_config(QUICKSTART, ["mae.steps=7", "seeds=(0,1)"])
    runs = {r.name: r for r in load_study(QUICKSTART, config).runs}
    assert runs["pretrain/mae_vitb_ben4"].config.steps == 7
    second = runs["scenes/mae_vitb_ben4/2-8/seed1"].config
    assert (second.seed, second.data.split_seed, second.data.train) == (1, 1, "all[2:8]")


def test_list_shows_every_run_with_its_state(folder, capsys):
    assert door.main(["--config", QUICKSTART, "--workdir", str(folder), "--list"]) == 0
    shown = capsys.readouterr().out
    for r in load(QUICKSTART).runs:
        assert r.name in shown
    assert not folder.exists()


def test_a_config_that_is_no_study_is_refused(folder):
    with pytest.raises(UserError, match=r"has no study\(config\)"):
        door.main(["--config", "configs/transfer/nasc_mlp.py", "--workdir", str(folder), "--list"])


def test_the_study_is_recorded_as_its_tables_are_defined(folder):
    plan = load(QUICKSTART)
    again = Study.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again.tables == plan.tables
    assert [r.needs for r in again.runs] == [r.needs for r in plan.runs]
