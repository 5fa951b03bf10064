"""Archives, names, cards and studies made by somebody who means harm, or by a bad disk."""

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
from archives_of_patches import compressed, packed, write_lists, write_patch
from class_trees import smooth, write_image
from small import small

import ssl_jax
from data_pipelines.errors import UserError
from data_pipelines.files import archives
from data_pipelines.files.archives import read_tar_members
from data_pipelines.files.paths import find_files
from data_pipelines.preparing.build import build
from data_pipelines.registry import find_builder
from data_pipelines.sources.opening import open_dataset
from ssl_jax.checkpoints import loading
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


def everything_below(folder):
    """{path: what it is} of a folder and all that is in it."""
    return {
        path: (path.lstat().st_mode, path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def outside_of(folder, paths):
    """Those that are not below a folder."""
    return {path: state for path, state in paths.items() if folder not in (path, *path.parents)}


def mistake_of(action):
    """The one line that a user sees; empty if nothing is refused."""
    try:
        action()
    except UserError as mistake:
        line = str(mistake)
    else:
        return ""
    assert "\n" not in line
    return line


def test_nothing_unpickles_or_runs_text():
    assert len(SOURCES) > 80
    # Hands a function to the worker processes that it starts, and reads no file.
    ours = ROOT / "data_pipelines" / "preparing" / "parallel.py"
    for file in set(SOURCES) - {ours}:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names]
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not UNPICKLERS & {name.partition(".")[0] for name in names}, file
            if isinstance(node, ast.Call):
                called = node.func
                assert getattr(called, "id", "") not in ("eval", "exec", "__import__"), file
                asked = [k.value for k in node.keywords if k.arg == "allow_pickle"]
                assert all(isinstance(a, ast.Constant) and a.value is False for a in asked), file
                attribute = getattr(called, "attr", "")
                whose = getattr(getattr(called, "value", None), "id", "")
                assert not (attribute == "load" and whose in UNPICKLERS | {"yaml"}), file


# Archives


def member(name, kind=tarfile.REGTYPE, content=b"", target=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(content), target
    return info, content


def tar_of(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content) if content else None)
    return buffer.getvalue()


def hostile_members(outside):
    return [
        member("../../evil.tif", content=b"up"),
        member(f"{outside}/evil.tif", content=b"absolute"),
        member("link", tarfile.SYMTYPE, target=str(outside)),
        member("link/evil.tif", content=b"through a link"),
        member("hard.tif", tarfile.LNKTYPE, target="/etc/passwd"),
        member("soft.tif", tarfile.SYMTYPE, target="/etc/passwd"),
        member("zero.tif", tarfile.CHRTYPE),
        member("disk.tif", tarfile.BLKTYPE),
        member("pipe.tif", tarfile.FIFOTYPE),
        member("..", tarfile.DIRTYPE),
    ]


def test_a_tar_archive_is_read_and_nothing_of_it_is_written(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    file = tmp_path / "in" / "a.tar"
    file.parent.mkdir()
    file.write_bytes(tar_of(hostile_members(outside)))
    before = everything_below(tmp_path)
    found = dict(read_tar_members([file], lambda _: True))
    assert everything_below(tmp_path) == before
    # Links, devices and pipes give no content, not even that of what they point to.
    assert sorted(found.values()) == [b"absolute", b"through a link", b"up"]


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_builder_of_a_hostile_tar_writes_the_dataset_and_nothing_else(kind, tmp_path):
    outside, manual, data = (tmp_path / name for name in ("outside", "manual", "data"))
    for folder in (outside, manual, data):
        folder.mkdir()
    name = "S2A_MSIL2A_20170613T101031_0_45"
    write_patch(tmp_path / "packed" / "BigEarthNet-v1.0", name, ["Airports"])
    honest = io.BytesIO(packed(tmp_path / "packed" / "BigEarthNet-v1.0"))
    with tarfile.open(fileobj=honest) as tar:
        good = [(info, tar.extractfile(info).read()) for info in tar]
    evil = [
        *hostile_members(outside),
        member(f"{outside}/{name}/{name}_B99.tif", content=b"no tif"),
        member(f"../../../{name}.json", content=b"no json"),
    ]
    content = compressed(tar_of([*evil, *good, *evil]), kind)
    (manual / f"BigEarthNet-v1.0.tar.{kind}").write_bytes(content)
    write_lists(manual, train=[name])
    before = everything_below(tmp_path)
    build("bigearthnet/v1/rgbn", data, manual_dir=manual)
    assert open_dataset("bigearthnet/v1/rgbn", data).splits["all"] == 1
    assert outside_of(data, everything_below(tmp_path)) == outside_of(data, before)


@pytest.mark.parametrize(
    "name", ["../../evil/a_1.png", "/evil/b_1.png", "..\\..\\evil\\c_1.png", "beach/../../d_1.png"]
)
def test_a_builder_of_a_hostile_zip_writes_the_dataset_and_nothing_else(name, tmp_path):
    manual, data, outside = (tmp_path / where for where in ("a/b/manual", "a/b/data", "outside"))
    outside.mkdir()
    data.mkdir(parents=True)
    for kind in ("beach", "harbour"):
        write_image(manual / kind / f"{kind}_1.png", smooth(1, 16, 3))
    with zipfile.ZipFile(manual / "more.zip", "w") as archive:
        archive.write(manual / "beach" / "beach_1.png", name)
        link = zipfile.ZipInfo("beach/link_1.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(outside))
    before = everything_below(tmp_path)
    mistake_of(lambda: build("class_folders/mine", data, manual_dir=manual))
    assert outside_of(data, everything_below(tmp_path)) == outside_of(data, before)


@pytest.mark.parametrize("claim", [2**31, 2**40, 2**62])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_file_or_header_that_claims_gigabytes_is_refused_before_they_are_read(
    claim, kind, tmp_path, monkeypatch
):
    info = tarfile.TarInfo("a.tif")
    info.type, info.size = kind, claim
    file = tmp_path / "a.tar.gz"
    file.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(2**16)))
    asked = []
    read = archives._Forward.read
    monkeypatch.setattr(
        archives._Forward, "read", lambda self, size=-1: (asked.append(size), read(self, size))[1]
    )
    with pytest.raises(UserError, match=r"claims [\d,]+ bytes, more than are read whole"):
        list(read_tar_members([file], lambda _: True))
    assert max(asked) >= claim
    _, memory = growth(lambda: mistake_of(lambda: list(read_tar_members([file], lambda _: True))))
    assert memory < 300


def test_bytes_changed_at_random_end_in_a_mistake_or_change_only_bytes(tmp_path):
    files = [member(f"folder/{n}", content=bytes([n]) * 700) for n in range(6)]
    whole = tar_of([*files, *hostile_members(tmp_path)])
    rng = np.random.default_rng(0)
    file = tmp_path / "in" / "a.tar"
    file.parent.mkdir()
    outcomes = set()
    for _ in range(200):
        content = bytearray(whole)
        for at in rng.integers(0, 12_000, 3):
            content[at] = rng.integers(256)
        file.write_bytes(content)
        outcomes.add(bool(mistake_of(lambda: list(read_tar_members([file], lambda _: True)))))
    assert True in outcomes
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]


def test_a_zip_of_hostile_names_is_only_listed(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("../up.txt", "/abs.txt", "c/../../d.txt", "C:\\e.txt"):
            archive.writestr(name, "evil")
    before = everything_below(tmp_path)
    find_files(tmp_path, lambda name: name.endswith(".txt"))
    assert everything_below(tmp_path) == before


# Names


@pytest.mark.parametrize("config", ["..", "../..", "../../x", "tiny/../../..", "a//b", "./tiny"])
def test_a_dataset_is_never_prepared_outside_of_data_dir(config, tmp_path):
    with pytest.raises(UserError, match="is no name of a folder"):
        find_builder(f"demo_tiles/{config}")
    data = tmp_path / "deep" / "data"
    data.mkdir(parents=True)
    before = everything_below(tmp_path)
    for name, fields in (
        (f"class_folders/{config}", ()),
        ("demo_tiles/tiny", (f"name={config}",)),
        ("demo_tiles/tiny", (f"name={tmp_path}/{config}",)),
    ):
        refused = mistake_of(
            lambda name=name, fields=fields: build(name, data, manual_dir=tmp_path, fields=fields)
        )
        assert refused or ".." not in config
        assert outside_of(data, everything_below(tmp_path)) == outside_of(data, before)


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
def test_a_run_or_table_of_a_study_is_named_by_folders_below_it(name):
    with pytest.raises(UserError, match="study: a run is named"):
        Run(name, config=small("mae", "data"))
    with pytest.raises(UserError, match="study: a table is named"):
        Table(name, "title", "subject", ("a",), ("b",), ())


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study's workdir that nothing has been done in."""
    folder = tmp_path_factory.mktemp("study")
    config = small("mae", folder)
    plan = Study("title", (Run("a/b", config, awaits="a file."),), (), "note")
    execute_study(plan, folder)
    return json.loads((folder / "study.json").read_text())


def changed(card, path, value):
    """A card with one thing in it changed; `...` removes it."""
    card = copy.deepcopy(card)
    *sections, field = path
    place = card
    for section in sections:
        place = place[section]
    if value is ...:
        del place[field]
    else:
        place[field] = value
    return card


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", ".."])
def test_a_report_of_a_crafted_study_writes_nothing_outside_of_its_workdir(study, name, tmp_path):
    workdir = tmp_path / "a" / "b"
    workdir.mkdir(parents=True)
    (workdir / "study.json").write_text(json.dumps(changed(study, ("runs", 0, "name"), name)))
    before = everything_below(tmp_path)
    with pytest.raises(UserError, match="study: a run is named"):
        report.write_report(workdir)
    assert everything_below(tmp_path) == before


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
def test_a_study_that_is_none_is_a_mistake_of_one_line(text, tmp_path):
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(UserError) as mistake:
        report.write_report(tmp_path)
    assert "\n" not in str(mistake.value)


def test_words_of_a_study_do_not_become_parts_of_the_page(study, tmp_path):
    evil = "<script>alert(1)</script>"
    crafted = changed(changed(study, ("title",), evil), ("note",), evil)
    (tmp_path / "study.json").write_text(json.dumps(crafted))
    page = report.write_report(tmp_path).read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


# Cards


def growth(action):
    """Seconds of the processor and MiB of memory at the most that `action` takes."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak from here on

    def memory(of):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(of)) / 1024

    before, began = memory("VmRSS"), time.process_time()
    action()
    return time.process_time() - began, memory("VmHWM") - before


@pytest.fixture(scope="module")
def checkpoints(data_dir, tmp_path_factory):
    """A trained bundle of each objective."""
    found = {}
    for kind in ("mae", "classification"):
        config = small(kind, data_dir)
        config.steps = 1
        found[kind] = tmp_path_factory.mktemp(kind)
        train(config, found[kind])
    return found


@pytest.fixture
def checkpoint(checkpoints, tmp_path):
    """Gives a bundle another card: (kind, text of the card) -> its folder."""

    def crafted(kind, text):
        folder = tmp_path / "bundle"
        shutil.copytree(loading.find_newest_checkpoint(checkpoints[kind]), folder)
        (folder / "card" / "data.json").write_text(text)
        write_manifest(folder)
        return folder

    return crafted


def doors(folder, data_dir):
    """Everything that uses the card of a bundle."""
    config = small("classification", data_dir)
    config.pretrained = str(folder)
    return {
        "load": lambda: ssl_jax.load(folder),
        "evaluate": lambda: evaluate_checkpoint(folder),
        "pretrained": lambda: parts.assemble_run(config),
    }


@pytest.fixture(scope="module")
def assert_refused(checkpoints, data_dir):
    """Asserts that all doors refuse a bundle in a line, for less than a sound one costs."""
    usual, _ = growth(lambda: evaluate_checkpoint(checkpoints["mae"]))

    def check(folder, saying=""):
        for name, door in doors(folder, data_dir).items():
            mistakes = []

            def refused(door=door, mistakes=mistakes):
                with pytest.raises(UserError) as mistake:
                    door()
                mistakes.append(str(mistake.value))

            seconds, memory = growth(refused)
            assert mistakes[0].startswith(f"bundle {folder}: "), (name, mistakes[0])
            assert "\n" not in mistakes[0]
            assert len(mistakes[0]) < 700
            assert saying in mistakes[0], (name, mistakes[0])
            assert seconds < usual, name
            assert memory < 300, name

    return check


HUGE = [10**9, 10**18, 10**40, -1, 2.5, 1e9, "8", None, [], {}, True, ...]
SIZES = [
    *(("image_shape", axis) for axis in range(3)),
    ("config", "augment", "train", "size"),
    ("config", "batch_size"),
    ("ignore_label",),
    ("step",),
]
NETWORK = [
    *(
        ("config", "model", "backbone", n)
        for n in ("dim", "depth", "heads", "patch_size", "image_size")
    ),
    *(("config", "model", "decoder", name) for name in ("dim", "depth", "heads")),
]


def card_of(checkpoints, kind):
    return json.loads(
        (loading.find_newest_checkpoint(checkpoints[kind]) / "card" / "data.json").read_text()
    )


# A run may be that long; networks have defaults, and 1 is a number of blocks as good as any.
IMPOSSIBLE = [
    *((path, value) for path in SIZES for value in HUGE if (path, value) != (("step",), 10**9)),
    *((path, value) for path in NETWORK for value in HUGE if value not in (..., True)),
]


@pytest.mark.parametrize(("path", "value"), IMPOSSIBLE, ids=lambda part: str(part)[:60])
def test_a_size_that_cannot_be_is_refused_before_memory_is_taken(
    path, value, checkpoints, checkpoint, assert_refused
):
    assert_refused(checkpoint("mae", json.dumps(changed(card_of(checkpoints, "mae"), path, value))))


@pytest.mark.parametrize(
    ("path", "value", "saying"),
    [
        (("classes",), [f"class {n}" for n in range(10**6)], "classes is a list of 1,000,000"),
        (("classes",), ["one", 2], "classes is"),
        (("classes",), ["one", "two"], "they don't belong together"),
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
        (("config", "model", "head", "hidden"), [16, 16], "they don't belong together"),
        (("config", "model", "head", "dropout"), float("nan"), "finite"),
        (("config", "model", "backbone", "stages"), [1000] * 4, "4,000 layers"),
        (("config", "model", "backbone", "name"), "resnet50000", "resnet50000"),
        (("config", "model", "backbone", "width"), 16, "they don't belong together"),
        (("config", "objective", "name"), "nothing", "nothing"),
        (("config", "precision"), "float1", "float1"),
        (("config", "data", "name"), 7, "config.data.name is 7"),
    ],
)  # fmt: skip
def test_a_card_of_another_network_or_of_nonsense_is_refused(
    path, value, saying, checkpoints, checkpoint, assert_refused
):
    card = changed(card_of(checkpoints, "classification"), path, value)
    folder = checkpoint("classification", json.dumps(card))
    if path == ("config", "precision"):  # load computes in float32 whatever the card says
        with pytest.raises(UserError, match=saying):
            evaluate_checkpoint(folder)
        return
    assert_refused(folder, saying)


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", "7", '"a"', "{}", "\xff", "[" * 10**5, '{"format": 1}']
)
def test_a_card_that_is_none_is_refused(text, checkpoint, assert_refused):
    assert_refused(checkpoint("mae", text))


def test_every_field_of_a_card_may_lack_or_be_of_another_kind(checkpoints, checkpoint):
    """Whatever is refused is so in one line; what has a default may go on."""
    card = card_of(checkpoints, "mae")
    folder = checkpoint("mae", "{}")
    refused = 0
    for section in (card, card["config"]):
        for field in section:
            for value in (..., None, [1], {"a": 1}, "text"):
                path = (field,) if section is card else ("config", field)
                crafted = json.dumps(changed(card, path, value))
                (folder / "card" / "data.json").write_text(crafted)
                write_manifest(folder)
                refused += bool(mistake_of(lambda: ssl_jax.load(folder)))
    assert refused > 60


def test_a_card_of_gigabytes_is_not_read(checkpoint, assert_refused):
    folder = checkpoint("mae", "{}")
    with (folder / "card" / "data.json").open("r+b") as file:
        file.truncate(8 * 2**30)  # of holes, which take no disk
    (folder / "manifest.json").unlink()
    assert_refused(folder, "its card has 8,589,934,592 bytes")


def test_a_card_does_not_get_to_run_a_python_file(checkpoints, checkpoint, tmp_path):
    program = tmp_path / "evil.py"
    program.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    for name in (str(program), f"{program}:Evil", f"{program}/tiny"):
        card = changed(card_of(checkpoints, "mae"), ("config", "data", "name"), name)
        folder = checkpoint("mae", json.dumps(card))
        with pytest.raises(UserError, match="if it is yours, name it yourself: --dataset"):
            evaluate_checkpoint(folder)
        shutil.rmtree(folder)
    assert not (tmp_path / "ran").exists()


def test_a_sound_bundle_is_used_by_all_doors(checkpoints):
    for kind, workdir in checkpoints.items():
        assert ssl_jax.load(workdir).card.config.objective.name == kind
        assert evaluate_checkpoint(workdir)
