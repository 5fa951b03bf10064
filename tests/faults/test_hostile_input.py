"""Malicious or corrupt archives, names, model cards and studies are refused without harm."""

import ast
import copy
import gzip
import io
import json
import shutil
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from bigearthnet_archives import compress, pack_tar, write_lists, write_patch
from class_folder_images import make_smooth_image, write_image
from small_configs import make_small_config

import ssl_jax
from data_pipelines.errors import UserError
from data_pipelines.files import archives
from data_pipelines.files.archives import read_tar_members
from data_pipelines.files.paths import find_files
from data_pipelines.preparing.build import build
from data_pipelines.registry import find_builder
from data_pipelines.sources.opening import open_dataset
from ssl_jax.checkpoints import finding
from ssl_jax.checkpoints.manifest import write_manifest
from ssl_jax.reporting import report
from ssl_jax.runs import parts
from ssl_jax.runs.evaluation import evaluate_checkpoint
from ssl_jax.runs.training import train
from ssl_jax.studies.execution import execute_study
from ssl_jax.studies.plan import Run, Study, Table

ROOT = Path(__file__).parents[2]
SOURCES = [
    p for name in ("ssl_jax", "data_pipelines", "configs") for p in ROOT.glob(f"{name}/**/*.py")
]
UNPICKLERS = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "marshal",
    "shelve",
    "joblib",
    "torch",
}


def list_files(folder):
    """Return mode, size and modification time of all files below a folder, by path."""
    return {
        path: (path.lstat().st_mode, path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def exclude_folder(folder, files):
    """Exclude the files below a folder."""
    return {path: state for path, state in files.items() if folder not in (path, *path.parents)}


def get_error_message(action):
    """Return the message of the UserError that an action raises; empty if it raises none."""
    try:
        action()
    except UserError as error:
        line = str(error)
    else:
        return ""
    assert "\n" not in line
    return line


def test_no_module_unpickles_or_evaluates_text():
    assert len(SOURCES) > 80
    # Pickles a function for its own worker processes, and reads no file.
    exempt = ROOT / "data_pipelines" / "preparing" / "parallel.py"
    for file in set(SOURCES) - {exempt}:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names]
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not UNPICKLERS & {name.partition(".")[0] for name in names}, file
            if isinstance(node, ast.Call):
                function = node.func
                assert getattr(function, "id", "") not in ("eval", "exec", "__import__"), file
                values = [k.value for k in node.keywords if k.arg == "allow_pickle"]
                assert all(isinstance(v, ast.Constant) and v.value is False for v in values), file
                attribute = getattr(function, "attr", "")
                module = getattr(getattr(function, "value", None), "id", "")
                assert not (attribute == "load" and module in UNPICKLERS | {"yaml"}), file


# Archives


def make_member(name, kind=tarfile.REGTYPE, content=b"", target=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(content), target
    return info, content


def make_tar(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content) if content else None)
    return buffer.getvalue()


def make_hostile_members(outside):
    return [
        make_member("../../evil.tif", content=b"up"),
        make_member(f"{outside}/evil.tif", content=b"absolute"),
        make_member("link", tarfile.SYMTYPE, target=str(outside)),
        make_member("link/evil.tif", content=b"through a link"),
        make_member("hard.tif", tarfile.LNKTYPE, target="/etc/passwd"),
        make_member("soft.tif", tarfile.SYMTYPE, target="/etc/passwd"),
        make_member("zero.tif", tarfile.CHRTYPE),
        make_member("disk.tif", tarfile.BLKTYPE),
        make_member("pipe.tif", tarfile.FIFOTYPE),
        make_member("..", tarfile.DIRTYPE),
    ]


def test_reading_a_tar_archive_writes_no_files(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    file = tmp_path / "in" / "a.tar"
    file.parent.mkdir()
    file.write_bytes(make_tar(make_hostile_members(outside)))
    before = list_files(tmp_path)
    contents = dict(read_tar_members([file], lambda _: True))
    assert list_files(tmp_path) == before
    # Links, devices and pipes are skipped, including the files that they point to.
    assert sorted(contents.values()) == [b"absolute", b"through a link", b"up"]


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_building_from_a_hostile_tar_writes_only_the_dataset(kind, tmp_path):
    outside, manual, data = (tmp_path / name for name in ("outside", "manual", "data"))
    for folder in (outside, manual, data):
        folder.mkdir()
    name = "S2A_MSIL2A_20170613T101031_0_45"
    write_patch(tmp_path / "packed" / "BigEarthNet-v1.0", name, ["Airports"])
    valid_tar = io.BytesIO(pack_tar(tmp_path / "packed" / "BigEarthNet-v1.0"))
    with tarfile.open(fileobj=valid_tar) as tar:
        valid = [(info, tar.extractfile(info).read()) for info in tar]
    hostile = [
        *make_hostile_members(outside),
        make_member(f"{outside}/{name}/{name}_B99.tif", content=b"no tif"),
        make_member(f"../../../{name}.json", content=b"no json"),
    ]
    content = compress(make_tar([*hostile, *valid, *hostile]), kind)
    (manual / f"BigEarthNet-v1.0.tar.{kind}").write_bytes(content)
    write_lists(manual, train=[name])
    before = list_files(tmp_path)
    build("bigearthnet/v1/rgbn", data, manual_dir=manual)
    assert open_dataset("bigearthnet/v1/rgbn", data).splits["all"] == 1
    assert exclude_folder(data, list_files(tmp_path)) == exclude_folder(data, before)


@pytest.mark.parametrize(
    "name", ["../../evil/a_1.png", "/evil/b_1.png", "..\\..\\evil\\c_1.png", "beach/../../d_1.png"]
)
def test_building_from_a_hostile_zip_writes_only_the_dataset(name, tmp_path):
    manual, data, outside = (tmp_path / path for path in ("a/b/manual", "a/b/data", "outside"))
    outside.mkdir()
    data.mkdir(parents=True)
    for kind in ("beach", "harbour"):
        write_image(manual / kind / f"{kind}_1.png", make_smooth_image(1, 16, 3))
    with zipfile.ZipFile(manual / "more.zip", "w") as archive:
        archive.write(manual / "beach" / "beach_1.png", name)
        link = zipfile.ZipInfo("beach/link_1.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(outside))
    before = list_files(tmp_path)
    get_error_message(lambda: build("class_folders/mine", data, manual_dir=manual))
    assert exclude_folder(data, list_files(tmp_path)) == exclude_folder(data, before)


@pytest.mark.parametrize("size", [2**31, 2**40, 2**62])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_file_or_header_with_a_size_of_gigabytes_is_refused_before_reading(
    size, kind, tmp_path, monkeypatch
):
    info = tarfile.TarInfo("a.tif")
    info.type, info.size = kind, size
    file = tmp_path / "a.tar.gz"
    file.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(2**16)))
    requested = []
    read = archives._ForwardStream.read
    monkeypatch.setattr(
        archives._ForwardStream,
        "read",
        lambda self, size=-1: (requested.append(size), read(self, size))[1],
    )
    with pytest.raises(UserError, match=r"claims [\d,]+ bytes; the limit is"):
        list(read_tar_members([file], lambda _: True))
    assert max(requested) >= size
    _, memory = measure_cost(
        lambda: get_error_message(lambda: list(read_tar_members([file], lambda _: True)))
    )
    assert memory < 300


def test_random_changes_of_bytes_raise_user_errors_or_change_only_contents(tmp_path):
    files = [make_member(f"folder/{n}", content=bytes([n]) * 700) for n in range(6)]
    original = make_tar([*files, *make_hostile_members(tmp_path)])
    rng = np.random.default_rng(0)
    file = tmp_path / "in" / "a.tar"
    file.parent.mkdir()
    refused = set()
    for _ in range(200):
        content = bytearray(original)
        for offset in rng.integers(0, 12_000, 3):
            content[offset] = rng.integers(256)
        file.write_bytes(content)
        refused.add(bool(get_error_message(lambda: list(read_tar_members([file], lambda _: True)))))
    assert True in refused
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]


def test_listing_a_zip_with_hostile_names_writes_no_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("../up.txt", "/abs.txt", "c/../../d.txt", "C:\\e.txt"):
            archive.writestr(name, "evil")
    before = list_files(tmp_path)
    find_files(tmp_path, lambda name: name.endswith(".txt"))
    assert list_files(tmp_path) == before


# Names


@pytest.mark.parametrize("config", ["..", "../..", "../../x", "tiny/../../..", "a//b", "./tiny"])
def test_a_dataset_is_never_prepared_outside_data_dir(config, tmp_path):
    with pytest.raises(UserError, match="is not a valid folder name"):
        find_builder(f"demo_tiles/{config}")
    data = tmp_path / "deep" / "data"
    data.mkdir(parents=True)
    before = list_files(tmp_path)
    for name, fields in (
        (f"class_folders/{config}", ()),
        ("demo_tiles/tiny", (f"name={config}",)),
        ("demo_tiles/tiny", (f"name={tmp_path}/{config}",)),
    ):
        message = get_error_message(
            lambda name=name, fields=fields: build(name, data, manual_dir=tmp_path, fields=fields)
        )
        assert message or ".." not in config
        assert exclude_folder(data, list_files(tmp_path)) == exclude_folder(data, before)


HOSTILE_NAMES = [
    "..",
    "../x",
    "/tmp/x",
    "a/../../x",
    "",
    ".",
    "a//b",
    "a/./b",
    "a\\..\\b",
    "a\0b",
    7,
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_of_runs_and_tables_of_a_study_must_be_relative_paths(name):
    with pytest.raises(UserError, match="study: found run name"):
        Run(name, config=make_small_config("mae", "data"))
    with pytest.raises(UserError, match="study: found table name"):
        Table(name, "title", "subject", ("a",), ("b",), ())


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The `study.json` of a study without runs that can start."""
    folder = tmp_path_factory.mktemp("study")
    config = make_small_config("mae", folder)
    plan = Study("title", (Run("a/b", config, awaits="a file."),), (), "note")
    execute_study(plan, folder)
    return json.loads((folder / "study.json").read_text())


def replace_entry(tree, path, value):
    """Replace an entry of nested dicts and lists; the value `...` removes it."""
    tree = copy.deepcopy(tree)
    *sections, field = path
    parent = tree
    for section in sections:
        parent = parent[section]
    if value is ...:
        del parent[field]
    else:
        parent[field] = value
    return tree


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", ".."])
def test_a_report_of_a_crafted_study_writes_only_into_its_workdir(study, name, tmp_path):
    workdir = tmp_path / "a" / "b"
    workdir.mkdir(parents=True)
    (workdir / "study.json").write_text(json.dumps(replace_entry(study, ("runs", 0, "name"), name)))
    before = list_files(tmp_path)
    with pytest.raises(UserError, match="study: found run name"):
        report.write_report(workdir)
    assert list_files(tmp_path) == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        '"text"',
        "{}",
        '{"runs": 1}',
        '{"runs": [1], "tables": []}',
        "[" * 10**5,
    ],
)
def test_an_invalid_study_is_refused_with_one_line(text, tmp_path):
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(UserError) as error:
        report.write_report(tmp_path)
    assert "\n" not in str(error.value)


def test_html_in_texts_of_a_study_is_escaped(study, tmp_path):
    script = "<script>alert(1)</script>"
    crafted = replace_entry(replace_entry(study, ("title",), script), ("note",), script)
    (tmp_path / "study.json").write_text(json.dumps(crafted))
    page = report.write_report(tmp_path).read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


# Cards


def measure_cost(action):
    """Measure the CPU time in seconds and the peak of additional memory in MiB of an action."""
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak

    def read_memory(name):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024

    memory_before, start = read_memory("VmRSS"), time.process_time()
    action()
    return time.process_time() - start, read_memory("VmHWM") - memory_before


@pytest.fixture(scope="module")
def checkpoints(data_dir, tmp_path_factory):
    """The workdirs of a run of each of two objectives."""
    workdirs = {}
    for kind in ("mae", "classification"):
        config = make_small_config(kind, data_dir)
        config.steps = 1
        workdirs[kind] = tmp_path_factory.mktemp(kind)
        train(config, workdirs[kind])
    return workdirs


@pytest.fixture
def checkpoint(checkpoints, tmp_path):
    """Function that copies a checkpoint with another card: (kind, text of the card) -> folder."""

    def craft(kind, text):
        folder = tmp_path / "checkpoint"
        shutil.copytree(finding.find_newest_checkpoint(checkpoints[kind]), folder)
        (folder / "card" / "data.json").write_text(text)
        write_manifest(folder)
        return folder

    return craft


def make_uses(folder, data_dir):
    """Return functions for all uses of the card of a checkpoint."""
    config = make_small_config("classification", data_dir)
    config.pretrained = str(folder)
    return {
        "load": lambda: ssl_jax.load(folder),
        "evaluate": lambda: evaluate_checkpoint(folder),
        "pretrained": lambda: parts.assemble_run(config),
    }


@pytest.fixture(scope="module")
def assert_refused(checkpoints, data_dir):
    """Function that checks that a checkpoint is refused with one line and at little cost."""
    max_seconds, _ = measure_cost(lambda: evaluate_checkpoint(checkpoints["mae"]))

    def check(folder, expected=""):
        for name, use in make_uses(folder, data_dir).items():
            messages = []

            def try_use(use=use, messages=messages):
                with pytest.raises(UserError) as error:
                    use()
                messages.append(str(error.value))

            seconds, memory = measure_cost(try_use)
            assert messages[0].startswith(f"checkpoint {folder}: "), (name, messages[0])
            assert "\n" not in messages[0]
            assert len(messages[0]) < 700
            assert expected in messages[0], (name, messages[0])
            assert seconds < max_seconds, name
            assert memory < 300, name

    return check


INVALID_SIZES = [10**9, 10**18, 10**40, -1, 2.5, 1e9, "8", None, [], {}, True, ...]
SIZE_PATHS = [
    *(("image_shape", axis) for axis in range(3)),
    ("config", "augment", "train", "size"),
    ("config", "batch_size"),
    ("ignore_label",),
    ("step",),
]
NETWORK_PATHS = [
    *(
        ("config", "model", "backbone", n)
        for n in ("dim", "depth", "heads", "patch_size", "image_size")
    ),
    *(("config", "model", "decoder", name) for name in ("dim", "depth", "heads")),
]


def load_card(checkpoints, kind):
    return json.loads(
        (finding.find_newest_checkpoint(checkpoints[kind]) / "card" / "data.json").read_text()
    )


# 10**9 is a valid step. The fields of networks have defaults, and True is a valid number of layers.
INVALID_ENTRIES = [
    *(
        (path, value)
        for path in SIZE_PATHS
        for value in INVALID_SIZES
        if (path, value) != (("step",), 10**9)
    ),
    *(
        (path, value)
        for path in NETWORK_PATHS
        for value in INVALID_SIZES
        if value not in (..., True)
    ),
]


@pytest.mark.parametrize(("path", "value"), INVALID_ENTRIES, ids=lambda part: str(part)[:60])
def test_an_invalid_size_is_refused_before_memory_is_allocated(
    path, value, checkpoints, checkpoint, assert_refused
):
    assert_refused(
        checkpoint("mae", json.dumps(replace_entry(load_card(checkpoints, "mae"), path, value)))
    )


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("classes",), [f"class {n}" for n in range(10**6)], "classes is a list of 1,000,000"),
        (("classes",), ["one", 2], "classes is"),
        (("classes",), ["one", "two"], "does not match the arrays"),
        (("colours",), [[0, 0, 10**9]], "colours is 1000000000"),
        (("image_shape",), [32, 32], "image_shape is [32, 32]"),
        (("image_shape",), [32, 32, 3], "as many bands as its sensor has"),
        (("image_dtype",), "object", "image_dtype is 'object'"),
        (("target",), "everything", "target is 'everything'"),
        (("metrics",), {"loss": "low"}, "metrics is"),
        (("sensor", "bands"), [], "sensor is"),
        (("sensor", "bands", 0, "mean"), float("nan"), "sensor.bands.mean is nan"),
        (("sensor", "bands", 0, "mean"), 10**400, "OverflowError"),
        (("sensor", "name"), None, "sensor is"),
        (("sensor", "bands", 0, "std"), 0.0, "sensor.bands.std is 0.0"),
        (("sensor", "bands", 0, "name"), 5, "sensor.bands is"),
        (("config", "model", "head", "hidden"), [16] * 5000, "at most 1,024 entries"),
        (("config", "model", "head", "hidden"), [16, 16], "does not match the arrays"),
        (("config", "model", "head", "dropout"), float("nan"), "finite"),
        (("config", "model", "backbone", "stages"), [1000] * 4, "4,000 layers"),
        (("config", "model", "backbone", "name"), "resnet50000", "resnet50000"),
        (("config", "model", "backbone", "width"), 16, "does not match the arrays"),
        (("config", "objective", "name"), "nothing", "nothing"),
        (("config", "precision"), "float1", "float1"),
        (("config", "data", "name"), 7, "config.data.name is 7"),
    ],
)  # fmt: skip
def test_a_card_of_another_network_or_with_invalid_fields_is_refused(
    path, value, expected, checkpoints, checkpoint, assert_refused
):
    card = replace_entry(load_card(checkpoints, "classification"), path, value)
    folder = checkpoint("classification", json.dumps(card))
    if path == ("config", "precision"):  # load ignores the precision of the card
        with pytest.raises(UserError, match=expected):
            evaluate_checkpoint(folder)
        return
    assert_refused(folder, expected)


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", "7", '"a"', "{}", "\xff", "[" * 10**5, '{"format": 1}']
)
def test_a_file_that_is_no_card_is_refused(text, checkpoint, assert_refused):
    assert_refused(checkpoint("mae", text))


def test_missing_and_mistyped_fields_of_a_card_raise_no_other_errors(checkpoints, checkpoint):
    """Errors are UserErrors of one line; missing fields with a default are accepted."""
    card = load_card(checkpoints, "mae")
    folder = checkpoint("mae", "{}")
    refused = 0
    for section in (card, card["config"]):
        for field in section:
            for value in (..., None, [1], {"a": 1}, "text"):
                path = (field,) if section is card else ("config", field)
                crafted = json.dumps(replace_entry(card, path, value))
                (folder / "card" / "data.json").write_text(crafted)
                write_manifest(folder)
                refused += bool(get_error_message(lambda: ssl_jax.load(folder)))
    assert refused > 60


def test_a_card_of_gigabytes_is_not_read(checkpoint, assert_refused):
    folder = checkpoint("mae", "{}")
    with (folder / "card" / "data.json").open("r+b") as file:
        file.truncate(8 * 2**30)  # sparse, without disk space
    (folder / "manifest.json").unlink()
    assert_refused(folder, "its card has 8,589,934,592 bytes")


def test_a_card_cannot_run_a_python_file(checkpoints, checkpoint, tmp_path):
    program = tmp_path / "evil.py"
    program.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    for name in (str(program), f"{program}:Evil", f"{program}/tiny"):
        card = replace_entry(load_card(checkpoints, "mae"), ("config", "data", "name"), name)
        folder = checkpoint("mae", json.dumps(card))
        with pytest.raises(UserError, match="if you trust the file, add --dataset"):
            evaluate_checkpoint(folder)
        shutil.rmtree(folder)
    assert not (tmp_path / "ran").exists()


def test_valid_checkpoints_are_loaded_and_evaluated(checkpoints):
    for kind, workdir in checkpoints.items():
        assert ssl_jax.load(workdir).card.config.objective.name == kind
        assert evaluate_checkpoint(workdir)
