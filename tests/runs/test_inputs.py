"""A loaded model and the evaluation compare images with those that the network learned."""

import json
import shutil

import numpy as np
import pytest

import ssl_jax
from data_pipelines.errors import UserError
from data_pipelines.profiles.stored import load_profile
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset
from ssl_jax import evaluate
from ssl_jax.checkpoints.canary import make_canary_images
from ssl_jax.checkpoints.manifest import write_manifest
from ssl_jax.runs.evaluation import evaluate_checkpoint


@pytest.fixture(scope="module")
def images(data_dir):
    source = select_subset(open_dataset("demo_scenes/tiny", data_dir), "all").examples
    return np.stack([source[i]["image"] for i in range(16)])


@pytest.fixture
def model(trained):
    return ssl_jax.load(trained("classification").workdir)


@pytest.fixture
def copy(trained, tmp_path):
    """Path of a copy of the newest checkpoint, and of the file of its card."""
    workdir = trained("classification").workdir
    newest = max((workdir / "checkpoints").iterdir(), key=lambda path: int(path.name))
    shutil.copytree(newest, tmp_path / "checkpoint")
    return tmp_path / "checkpoint", tmp_path / "checkpoint" / "card" / "data.json"


def change_card(checkpoint, file, change):
    card = json.loads(file.read_text())
    change(card)
    file.write_text(json.dumps(card))
    write_manifest(checkpoint)


def test_the_card_has_the_profile_of_the_training_split(model, data_dir):
    dataset = open_dataset("demo_scenes/tiny", data_dir, model.card.sensor.names)
    stored = load_profile(dataset, model.card.config.data.train)
    assert model.card.profile == stored
    assert model.card.profile.classes[3].name == model.card.classes[3]


def test_learned_images_are_answered_without_a_word(model, images, capsys):
    for count in (1, 3, 16):
        model(images[:count])
    model(images.astype(np.float64))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (lambda x: x / 10_000, "reflectance 0…1; the network learned .*: scale=0.0001"),
        (lambda x: x / np.where(x > 500, 1, np.nan), "NaN or infinite"),
        (lambda x: (x - 32_768.0).astype(np.int16), "below zero"),
        (lambda x: (x // 40).clip(0, 255).astype(np.uint8), "eight-bit values"),
        (lambda x: np.repeat(x[..., :1], 4, axis=-1), "the same values everywhere"),
    ],
)
def test_impossible_images_are_refused(model, images, change, check):
    with pytest.raises(UserError, match=f"images: .*{check}.*to go on all the same: ssl_jax.load"):
        model(change(images))


def test_the_flags_of_the_message_mend_the_images(model, images):
    expected = model(images)
    mended = model(images / 10_000, scale=1e-4)
    np.testing.assert_allclose(mended, expected, rtol=1e-4)
    np.testing.assert_allclose(model(images + 1000.0, offset=-1000), expected, rtol=1e-4)
    with pytest.raises(UserError, match="scale 0 and offset 0: expected finite numbers"):
        model(images, scale=0)


def test_a_refusal_can_be_accepted(trained, images):
    model = ssl_jax.load(trained("classification").workdir, accept=["scale"])
    assert model(images / 10_000).shape == (16, 10)
    with pytest.raises(UserError, match="accept: found 'colour'; expected one of"):
        ssl_jax.load(trained("classification").workdir, accept=["colour"])


def test_a_warning_is_printed_once(model, images, capsys):
    collar = images.copy()
    collar[:, :, :8] = 0
    for _ in range(3):
        model(collar)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: images: 25% of the pixels are 0 in all bands")


def test_a_checkpoint_without_profile_warns_by_its_statistics(copy, images, capsys):
    def forget(card):
        del card["profile"], card["canary"]

    change_card(*copy, forget)
    model = ssl_jax.load(copy[0])
    assert model.card.profile is None
    model(images)
    assert capsys.readouterr().err == ""
    model(images / 10_000)
    assert "reflectance 0…1; demo_scenes has digital numbers" in capsys.readouterr().err
    with pytest.raises(UserError, match="NaN"):
        model(images * np.nan)


@pytest.mark.parametrize("field", ["profile", "canary"])
@pytest.mark.parametrize("value", [1, "text", [1], {"format": 1}, {"answers": [[1], [2, 3]]}])
def test_a_hostile_profile_or_canary_is_refused_in_one_line(copy, field, value):
    change_card(*copy, lambda card: card.update({field: value}))
    with pytest.raises(UserError, match=f"checkpoint .*(data profile|{field})") as error:
        ssl_jax.load(copy[0])
    assert "\n" not in str(error.value)


def test_the_canary_is_in_the_training_range_and_no_training_image(model, images):
    profile = model.card.profile
    canary = make_canary_images(profile)
    assert canary.dtype == images.dtype
    assert canary.shape[1:] == images.shape[1:]
    assert (canary >= profile.quantiles[0]).all()
    assert (canary <= profile.quantiles[-1]).all()
    assert all(len(np.unique(image)) > 50 for image in canary)


def test_the_same_machine_answers_the_same(trained, capsys):
    for kind in ("simclr", "mae", "classification", "segmentation"):
        model = ssl_jax.load(trained(kind).workdir, verify=True)
        assert len(model.card.canary["answers"]) == 2
    assert capsys.readouterr().err == ""


def test_other_weights_are_told_by_the_canary(copy, capsys, data_dir):
    def answer_otherwise(card):
        answers = card["canary"]["answers"]
        card["canary"]["answers"] = [[1 - value for value in row] for row in answers]

    change_card(*copy, answer_otherwise)
    ssl_jax.load(copy[0])
    assert capsys.readouterr().err == ""
    ssl_jax.load(copy[0], verify=True)
    assert "this machine answers otherwise" in capsys.readouterr().err
    evaluate_checkpoint(copy[0], data_dir=str(data_dir))
    assert "is the relative error of its canary's answers" in capsys.readouterr().err


def test_a_checkpoint_without_canary_says_that_nothing_is_verified(copy, capsys):
    change_card(*copy, lambda card: card.pop("canary"))
    ssl_jax.load(copy[0], verify=True)
    assert "has no canary" in capsys.readouterr().err


def test_evaluation_of_learned_images_warns_of_nothing(trained, capsys):
    evaluate_checkpoint(trained("classification").workdir)
    assert capsys.readouterr().err == ""


def test_evaluation_refuses_converts_and_accepts(trained, data_dir, tmp_path, capsys):
    """A dataset in another unit is refused; the flags mend it; what is accepted is recorded."""
    workdir = str(trained("classification").workdir)
    command = ["--checkpoint", workdir, "--data_dir", str(data_dir)]
    with pytest.raises(UserError, match=r"dataset demo_scenes/tiny: values look like .*--accept"):
        evaluate.main([*command, "--scale", "20"])
    file = tmp_path / "metrics.json"
    assert evaluate.main([*command, "--scale", "20", "--accept", "scale", "--json", str(file)]) == 0
    assert json.loads(file.read_text())["accepted"] == ["scale"]
    assert "accepted" in capsys.readouterr().out
    assert evaluate.main([*command, "--scale", "1.0001", "--json", str(file)]) == 0
    metrics = json.loads(file.read_text())
    assert "accepted" not in metrics
    assert metrics["loss"] == pytest.approx(evaluate_checkpoint(workdir)["loss"], rel=1e-3)
