"""Execution of studies with a fake `train`: order, skipped and failed runs, states."""

import contextlib
import json
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
from ml_collections import ConfigDict
from waiting import wait_for

from data_pipelines.errors import UserError
from data_pipelines.files.lock import Locked
from data_pipelines.files.writing import write_json
from ssl_jax import study as study_command
from ssl_jax.runs.config import load_config
from ssl_jax.studies.execution import execute_study, load_study
from ssl_jax.studies.jobs import train_side_by_side
from ssl_jax.studies.plan import Run, Study, select_runs
from ssl_jax.studies.states import check_runnable, read_states

QUICKSTART = "configs/study/quickstart.py"


def run(name, *needs, **fields):
    config = ConfigDict({"data": {"name": "nowhere", "data_dir": ""}, "pretrained": "", "seed": 0})
    return Run(name, config, needs, **fields)


CHAIN = Study(
    "two independent chains",
    (
        run("pretrain/a"),
        run("pretrain/b"),
        run("scenes/a/2-8/seed0", "pretrain/a"),
        run("scenes/a/8-2/seed0", "pretrain/a"),
        run("scenes/b/2-8/seed0", "pretrain/b"),
    ),
    (),
)


class FakeTrain:
    """A fake `train` that records its calls and fails for the given runs."""

    def __init__(self, *failing):
        self.calls = []
        self.failing = failing

    def __call__(self, config, folder):
        name = folder.parts[-1] if folder.parent.name == "pretrain" else folder.parts[-3]
        self.calls.append("/".join(folder.parts[folder.parts.index("study") + 1 :]))
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


def statuses(folder, plan=CHAIN):
    return [state.status for state in read_states(plan.runs, folder).values()]


def test_runs_are_trained_in_order_from_the_backbones_they_need(folder):
    pretrained = {}

    def train(config, workdir):
        pretrained[str(workdir.relative_to(folder))] = config.pretrained
        return FakeTrain()(config, workdir)

    execute_study(CHAIN, folder, train=train)
    assert list(pretrained) == [r.name for r in CHAIN.runs]
    assert pretrained["scenes/a/8-2/seed0"] == str(folder / "pretrain/a")
    assert statuses(folder) == ["done"] * 5


def test_finished_runs_are_skipped(folder):
    execute_study(CHAIN, folder, train=FakeTrain())
    train = FakeTrain()
    execute_study(CHAIN, folder, train=train)
    assert train.calls == []


def test_a_failed_run_blocks_only_the_runs_that_need_it(folder):
    train = FakeTrain("a")
    states = execute_study(CHAIN, folder, train=train)
    assert [state.status for state in states.values()] == [
        "failed", "done", "blocked", "blocked", "done",
    ]  # fmt: skip
    assert states["pretrain/a"].detail == "RuntimeError: a does not work"
    assert "Traceback" in (folder / "pretrain/a/failure.txt").read_text()


def test_a_failed_run_is_retried_and_then_the_runs_that_need_it(folder):
    execute_study(CHAIN, folder, train=FakeTrain("a"))
    train = FakeTrain()
    execute_study(CHAIN, folder, train=train)
    assert train.calls == ["pretrain/a", "scenes/a/2-8/seed0", "scenes/a/8-2/seed0"]
    assert statuses(folder) == ["done"] * 5


def test_a_user_error_is_recorded_in_one_line_without_traceback(folder):
    def train(config, workdir):
        raise UserError("dataset nowhere: not prepared")

    execute_study(CHAIN, folder, train=train)
    assert (folder / "pretrain/a/failure.txt").read_text() == "dataset nowhere: not prepared\n"


def test_a_run_without_its_weights_is_skipped_and_says_what_to_do(folder):
    plan = Study("", (run("given", awaits="bring weights"), run("after", "given")), ())
    train = FakeTrain()
    states = execute_study(plan, folder, train=train)
    assert train.calls == []
    assert states["given"].status == "needs weights"
    assert states["given"].detail == "bring weights"
    assert states["after"].status == "blocked"


def test_the_state_of_an_interrupted_run_has_its_step(folder):
    (folder / "pretrain/a/checkpoints/40").mkdir(parents=True)
    (folder / "pretrain/a/checkpoints/120").mkdir()
    state = read_states(CHAIN.runs, folder)["pretrain/a"]
    assert (state.status, state.detail) == ("part-way", "at step 120")


def test_the_state_of_an_interrupted_search_has_its_progress(folder):
    for rate in ("0.001", "0.01"):
        (folder / f"pretrain/a/search/learning_rate={rate}").mkdir(parents=True)
    (folder / "pretrain/a/search/learning_rate=0.001/results.json").write_text("{}")
    state = read_states(CHAIN.runs, folder)["pretrain/a"]
    assert (state.status, state.detail) == ("part-way", "learning rates tried: 1")


def test_a_workdir_of_another_config_is_rejected_before_any_run(folder):
    execute_study(CHAIN, folder, train=FakeTrain())
    changed = run("pretrain/a")
    changed.config.seed = 7
    other = replace(CHAIN, runs=(changed, *CHAIN.runs[1:]))
    with pytest.raises(UserError, match=r"config\.seed = 0, this one has 7"):
        execute_study(other, folder, train=FakeTrain())


@pytest.mark.parametrize(
    ("pattern", "count"),
    [("pretrain/a", 1), ("scenes", 3), ("scenes/a/", 2), ("*/8-2/*", 1), ("*", 5)],
)
def test_only_selects_by_name_folder_or_pattern(pattern, count):
    assert len(select_runs(CHAIN.runs, pattern)) == count


def test_only_rejects_a_pattern_without_matches():
    with pytest.raises(UserError, match="--only scenes/aa: the study has no such run"):
        select_runs(CHAIN.runs, "scenes/aa")


def test_only_rejects_a_run_whose_dependency_is_not_done(folder):
    chosen = select_runs(CHAIN.runs, "scenes/a")
    with pytest.raises(UserError, match=r"needs pretrain/a, which is not done \(waiting\)"):
        check_runnable(chosen, read_states(CHAIN.runs, folder))
    execute_study(CHAIN, folder, select_runs(CHAIN.runs, "pretrain/a"), FakeTrain())
    check_runnable(chosen, read_states(CHAIN.runs, folder))


def test_a_dependency_must_come_before_the_run():
    with pytest.raises(UserError, match="needs z, which does not come before it"):
        Study("", (run("a", "z"), run("z")), ())


def load(path):
    return load_study(path, load_config(path))


@pytest.mark.parametrize("path", ["configs/study/paper.py", QUICKSTART, f"{QUICKSTART}:smallest"])
def test_table_cells_have_their_runs_and_transfer_runs_matching_backbones(path):
    plan = load(path)
    runs = {r.name: r for r in plan.runs}
    cells = [cell for table in plan.tables for row in table.rows for cell in row.cells]
    assert len(plan.tables[0].rows) == 7
    assert len(plan.tables[1].rows) == 4
    names_in_tables = {name for cell in cells for name in cell.runs}
    assert names_in_tables == {name for name in runs if not name.startswith("pretrain/")}
    for r in plan.runs:
        for name in r.needs:
            own, pretrained = (x.config.model.backbone.to_dict() for x in (r, runs[name]))
            # Stochastic depth and pooling have no parameters and may differ.
            for field in ("drop_path", "pool"):
                pretrained.pop(field, None)
            assert {**own, **pretrained} == own
            assert r.config.data.bands == runs[name].config.data.bands


def test_table_1_has_the_published_values():
    rows = load("configs/study/paper.py").tables[0].rows
    published = [[cell.published for cell in row.cells] for row in rows]
    assert published[:4] == [
        [92.85, 93.64, 94.05],
        [92.25, 93.37, 94.45],
        [92.90, 95.59, 97.13],
        [93.28, 96.11, 98.30],
    ]
    assert published[4:] == [[None] * 3] * 3


def test_runs_await_imagenet_weights_until_they_are_given(tmp_path):
    awaiting = [r for r in load("configs/study/paper.py").runs if r.awaits]
    assert {r.name.split("/")[1] for r in awaiting} == {"resnet50_imagenet_rgb"}
    config = load_config("configs/study/paper.py", ["imagenet=/weights", "seeds=(0,)"])
    runs = load_study("configs/study/paper.py", config).runs
    given = [r for r in runs if "imagenet" in r.name]
    assert not any(r.awaits for r in runs)
    assert {r.resolve_config(tmp_path).pretrained for r in given} == {"/weights"}


def test_overrides_of_a_section_reach_the_runs():
    config = load_config(QUICKSTART, ["mae.steps=7", "seeds=(0,1)"])
    runs = {r.name: r for r in load_study(QUICKSTART, config).runs}
    assert runs["pretrain/mae_vitb_ben4"].config.steps == 7
    second = runs["scenes/mae_vitb_ben4/2-8/seed1"].config
    assert (second.seed, second.data.split_seed, second.data.train) == (1, 1, "all[2:8]")


def test_list_prints_all_runs(folder, capsys):
    assert study_command.main(["--config", QUICKSTART, "--workdir", str(folder), "--list"]) == 0
    output = capsys.readouterr().out
    for r in load(QUICKSTART).runs:
        assert r.name in output
    assert not folder.exists()


def test_a_config_without_study_is_rejected(folder):
    with pytest.raises(UserError, match=r"has no study\(config\)"):
        study_command.main(
            ["--config", "configs/transfer/nasc_mlp.py", "--workdir", str(folder), "--list"]
        )


def test_a_study_is_unchanged_by_storing_it_as_json(folder):
    plan = load(QUICKSTART)
    restored = Study.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert restored.tables == plan.tables
    assert [r.needs for r in restored.runs] == [r.needs for r in plan.runs]


@pytest.mark.parametrize("ends_meanwhile", [False, True])
def test_a_run_that_another_process_trains_is_left_to_it(folder, capsys, ends_meanwhile):
    train = FakeTrain()

    def train_beside_another(config, run_folder):
        if run_folder == folder / "pretrain/a":
            raise Locked("workdir a: another process is training in it (process 7 on gpu17)")
        if ends_meanwhile:
            FakeTrain()(config, folder / "pretrain/a")
        return train(config, run_folder)

    states = execute_study(CHAIN, folder, train=train_beside_another)
    output = capsys.readouterr().out
    assert "pretrain/a: running elsewhere: workdir a: another process is training in it" in output
    assert "[1/4] pretrain/b" in output
    assert not (folder / "pretrain/a/failure.txt").exists()
    trained = ["pretrain/b", "scenes/b/2-8/seed0"]
    if ends_meanwhile:
        trained += ["scenes/a/2-8/seed0", "scenes/a/8-2/seed0"]
    assert train.calls == trained
    expected = {name: "done" if ends_meanwhile else "waiting" for name in states if "/a" in name}
    assert {name: states[name].status for name in expected} == expected


@contextlib.contextmanager
def training_elsewhere(folder):
    """Hold the lock of a run's folder in another process, and yield its id."""
    program = (
        "import sys; from pathlib import Path; from data_pipelines.files.lock import acquire_lock\n"
        "with acquire_lock(Path(sys.argv[1]), 'workdir', 'training in it'):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, folder / ".lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"held\n"
        yield process.pid


def test_a_run_in_progress_is_running_elsewhere_and_its_dependents_wait(folder):
    other = folder / "pretrain/a"
    other.mkdir(parents=True)
    with training_elsewhere(other) as process:
        states = read_states(CHAIN.runs, folder)
        with pytest.raises(UserError, match=r"not done \(running elsewhere by .*\); wait for it"):
            check_runnable(select_runs(CHAIN.runs, "scenes/a/*"), states)
    assert states["pretrain/a"].status == "running elsewhere"
    assert states["pretrain/a"].detail == f"by process {process} on {socket.gethostname()}"
    assert states["scenes/a/2-8/seed0"].status == "waiting"
    assert read_states(CHAIN.runs, folder)["pretrain/a"].status == "waiting"


def test_jobs_share_the_runs_and_one_of_them_reports(tmp_path):
    study = load_study(QUICKSTART, load_config(QUICKSTART))
    folder = tmp_path / "study"
    for each in select_runs(study.runs, "pretrain/*"):
        FakeTrain()(each.resolve_config(folder), folder / each.name)
    command = [sys.executable, "-m", "ssl_jax.study", f"--config={QUICKSTART}", "--jobs=2"]
    process = subprocess.run(
        [*command, f"--workdir={folder}", "--only=pretrain/*"], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("write the report") == 1


@pytest.mark.parametrize("is_stopped", [False, True])
def test_other_jobs_are_waited_for_and_stopped_with_this_one(tmp_path, monkeypatch, is_stopped):
    """A shell script in place of Python writes what happens to it."""
    log, python = tmp_path / "log", tmp_path / "python"
    python.write_text(
        f"""#!/bin/sh
        trap 'echo stopped >> {log}; exit 75' TERM
        echo "$*" >> {log}
        sleep {60 if is_stopped else 1} &
        wait && echo ended >> {log}
        """
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with (
        pytest.raises(KeyboardInterrupt) if is_stopped else contextlib.nullcontext(),
        train_side_by_side(2, ["--workdir=w", "--jobs=3"]),
    ):
        wait_for(lambda: log.exists() and len(log.read_text().splitlines()) == 2)
        if is_stopped:
            raise KeyboardInterrupt
    lines = log.read_text().splitlines()
    assert lines[:2] == ["-m ssl_jax.study --workdir=w --jobs=3 --jobs=1 --no_report"] * 2
    assert lines[2:] == ["stopped" if is_stopped else "ended"] * 2
