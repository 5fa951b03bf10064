"""RandAugment's operations and the mixing of examples against timm, as in MAE's fine-tuning."""

import random

import jax
import numpy as np
import pytest
import torch
from augment.planes import on_planes
from PIL import Image
from relative_error import assert_agreement
from timm.data import auto_augment, mixup

from ssl_jax.augment import Mix
from ssl_jax.augment.randaugment import (
    GEOMETRIC_OPERATIONS,
    VALUE_OPERATIONS,
    OperationSettings,
    apply_operation,
)

SIZE = 120
MEAN = (124, 116, 104)
NAMES = [*VALUE_OPERATIONS, *GEOMETRIC_OPERATIONS]
TIMM_NAMES = {
    "auto_contrast": "AutoContrast",
    "equalize": "Equalize",
    "invert": "Invert",
    "posterize": "PosterizeIncreasing",
    "solarize": "SolarizeIncreasing",
    "solarize_add": "SolarizeAdd",
    "color": "ColorIncreasing",
    "contrast": "ContrastIncreasing",
    "brightness": "BrightnessIncreasing",
    "sharpness": "SharpnessIncreasing",
    "rotate": "Rotate",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateXRel",
    "translate_y": "TranslateYRel",
}


@pytest.fixture(scope="module")
def operation():
    fill = np.float32(MEAN) / 255
    return jax.jit(
        lambda number, image, level, signed: on_planes(apply_operation, 1)(
            number, image, OperationSettings(level, signed, fill, (0, 1, 2))
        )
    )


def test_the_operations_are_those_of_mae():
    transform = auto_augment.rand_augment_transform("rand-m9-mstd0.5-inc1", {})
    assert {op.name for op in transform.ops} == set(TIMM_NAMES.values())
    assert set(TIMM_NAMES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_operation_is_that_of_timm_up_to_one_level_of_eight_bits(name, operation, monkeypatch):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (12, 12, 3), np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    hparams = {"img_mean": MEAN, "interpolation": Image.Resampling.BICUBIC}
    ours, theirs = [], []
    for magnitude in (4.1, 9.0, 9.7):
        for sign, draw in ((1, 0.0), (-1, 1.0)):
            monkeypatch.setattr(random, "random", lambda draw=draw: draw)  # negative if above 0.5
            op = auto_augment.AugmentOp(TIMM_NAMES[name], 1.0, magnitude, hparams)
            theirs.append(np.asarray(op(Image.fromarray(image))))
            level = np.float32(magnitude / 10)
            ours.append(
                255
                * np.asarray(
                    operation(NAMES.index(name), np.float32(image) / 255, level, sign * level)
                )
            )
    is_rounded = name in ("color", "contrast", "sharpness")  # the others truncate
    assert_agreement(name, np.stack(ours), np.stack(theirs), (1.5 if is_rounded else 1.001) / 255)


@pytest.mark.parametrize(("alphas", "use_cutmix"), [((0.8, 0.0), False), ((0.0, 1.0), True)])
@pytest.mark.parametrize("seed", range(8))
def test_a_pair_is_mixed_as_timm_mixes_a_batch_of_two(alphas, use_cutmix, seed, monkeypatch):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(2, 64, 48, 4)).astype(np.float32)
    labels = np.array([3, 1])
    targets = np.eye(5, dtype=np.float32)[labels] * 0.9 + 0.1 / 5
    key = jax.random.key(seed)
    ours = Mix(*alphas)(key, np.arange(2), images, targets)

    # The same random numbers: λ, and the position of the box.
    beta_key, box_key = jax.random.split(key)
    lam = float(jax.random.beta(beta_key, max(alphas), max(alphas)))
    position = np.asarray(jax.random.uniform(box_key, (4,)))[2:]
    centre = iter(np.floor(position * (64, 48)).astype(int))
    monkeypatch.setattr(np.random, "randint", lambda low, high, size: next(centre))
    timm_mixup = mixup.Mixup(*alphas, label_smoothing=0.1, num_classes=5)
    monkeypatch.setattr(timm_mixup, "_params_per_batch", lambda: (lam, use_cutmix))
    batch = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    mixed, mixed_targets = timm_mixup(batch, torch.from_numpy(labels))
    theirs = mixed.permute(0, 2, 3, 1).numpy(), mixed_targets.numpy()
    assert_agreement("cutmix" if use_cutmix else "mixup", ours, theirs, 1e-6)
