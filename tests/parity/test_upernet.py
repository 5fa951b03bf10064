"""UperNet against transformers', on the maps of a ResNet and on those of a ViT."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from parity.deviation import expect_agreement, in_float64
from parity.torch_upernet import Neck as TorchNeck
from parity.torch_upernet import (
    ViTWithNeck,
    as_after_training,
    from_torch,
    from_torch_part,
    upernet,
)

from ssl_jax import mesh
from ssl_jax.augment import Normalisation
from ssl_jax.models import ResNet, UperNet, ViT
from ssl_jax.models.upernet import FCNHead, Neck, UPerHead
from ssl_jax.objectives import Segmentation

RESNET50 = ((30, 256), (15, 512), (8, 1024), (4, 2048))  # maps at 120 px: sides and channels
VIT_B = ((30, 768), (15, 768), (8, 768), (4, 768))
CLASSES = ("a", "b", "c", "d", "e", "f", "g")


@pytest.mark.parametrize("maps", [RESNET50, VIT_B], ids=["ResNet-50", "ViT-B"])
@pytest.mark.parametrize("part", ["head", "auxiliary"])
def test_at_full_size_the_heads_are_those_of_transformers(part, maps):
    torch.manual_seed(0)
    theirs = upernet(None, [channels for _, channels in maps], hidden=512, auxiliary=256).eval()
    shared = {"num_classes": 5, "dropout": 0.1, "norm": "batch", "dtype": jnp.float32}
    if part == "head":
        ours, theirs = (
            UPerHead(channels=512, pool_scales=(1, 2, 3, 6), **shared),
            theirs.decode_head,
        )
    else:
        ours, theirs = FCNHead(channels=256, **shared), theirs.auxiliary_head
    variables = from_torch_part(arrays(theirs.state_dict()))
    rng = np.random.default_rng(0)
    levels = [rng.normal(size=(2, side, side, c)).astype(np.float32) for side, c in maps]
    weight = rng.normal(size=(2, *[maps[0 if part == "head" else 2][0]] * 2, 5)).astype(np.float32)

    @jax.jit
    def run(params, levels):
        def product(params, levels):
            given = levels if part == "head" else levels[2]
            logits = ours.apply(variables | {"params": params}, given, False)
            return (logits * weight).sum(), logits

        gradients, logits = jax.grad(product, argnums=(0, 1), has_aux=True)(params, levels)
        return {"logits": logits, "gradients": gradients[0], "inputs": gradients[1]}

    found = run(variables["params"], levels)
    inputs = [channels_first(x).requires_grad_() for x in levels]
    logits = theirs(inputs)
    (logits * channels_first(weight)).sum().backward()
    expected = {
        "logits": channels_last(logits),
        "gradients": from_torch_part(gradients_of(theirs))["params"],
        "inputs": [
            channels_last(torch.zeros_like(x) if x.grad is None else x.grad) for x in inputs
        ],
    }
    for name in found:
        case = (
            f"UperNet's {part}, 120 px, {maps[0][1]} to {maps[3][1]} channels, evaluation: {name}"
        )
        expect_agreement(case, found[name], expected[name], 1e-5)


@pytest.mark.parametrize("train", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("patch", [16, 8])
def test_the_neck_is_feature2pyramid(patch, train):
    torch.manual_seed(0)
    theirs = as_after_training(TorchNeck(patch, 24)).double().train(train)
    variables = {"batch_stats": {}} | from_torch_part(arrays(theirs.state_dict()))
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(2, 5, 7, 24)) for _ in range(4)]
    inputs = [channels_first(x).requires_grad_() for x in maps]
    outputs = theirs(inputs)
    weights = [rng.normal(size=channels_last(x).shape) for x in outputs]

    def run(params, maps):
        def product(params, maps):
            neck = Neck(patch, "batch", jnp.float64)
            given = variables | {"params": params}
            levels, changed = neck.apply(given, maps, train, mutable=["batch_stats"])
            return sum((x * w).sum() for x, w in zip(levels, weights, strict=True)), (
                levels,
                changed,
            )

        gradients, (levels, changed) = jax.grad(product, (0, 1), has_aux=True)(params, maps)
        statistics = changed.get("batch_stats", {})
        return {"maps": levels, "gradients": gradients[0], "inputs": gradients[1]} | (
            {"statistics": statistics} if statistics else {}
        )

    with in_float64():
        one = mesh.data_mesh(jax.devices()[:1])
        replicated = mesh.REPLICATED
        step = mesh.pmapped(run, one, (replicated, replicated), replicated)
        found = step(variables["params"], tuple(maps))
    sum((x * channels_first(w)).sum() for x, w in zip(outputs, weights, strict=True)).backward()
    expected = {
        "maps": tuple(channels_last(x) for x in outputs),
        "gradients": from_torch_part(gradients_of(theirs))["params"],
        "inputs": tuple(channels_last(x.grad) for x in inputs),
        "statistics": from_torch_part(arrays(theirs.state_dict())).get("batch_stats"),
    }
    if patch == 16 and train:
        of_no_effect(found["gradients"]["level0_deconv1"], expected["gradients"]["level0_deconv1"])
    for name in found:
        case = f"UperNet's neck, patch {patch}, train={train}, float64: {name}"
        expect_agreement(case, found[name], expected[name], 1e-10)


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("name", ["ResNet", "ViT, patch 16", "ViT, patch 8"])
def test_a_training_step_of_the_whole_is_transformers(name, devices):
    torch.manual_seed(0)
    if name == "ResNet":
        size = (48, 40)
        theirs = upernet(None, [8, 16, 32, 64], hidden=12, auxiliary=6)
        backbone = ResNet(stages=(1, 1, 1, 1), bottleneck=False, width=8, dtype=jnp.float64)
    else:
        patch = int(name.split()[-1])
        side = {16: 48, 8: 40}[patch]
        size = (side, side)
        theirs = upernet(ViTWithNeck(side, patch), [16] * 4, hidden=12, auxiliary=6)
        sizes = {"dim": 16, "depth": 4, "heads": 2, "dtype": jnp.float64}
        backbone = ViT(patch_size=patch, image_size=side, **sizes)
    model = UperNet(backbone, 5, channels=12, auxiliary_channels=6, dropout=0.0, dtype=jnp.float64)
    normalise = Normalisation((1e-4,) * 4, (0.0,) * 4, (5000.0,) * 4, (3000.0,) * 4)
    objective = Segmentation(model, normalise, CLASSES, excluded=(1, 4))
    theirs.double().train()
    before = from_torch(arrays(theirs.state_dict()))
    batch = examples(size)
    with in_float64():
        found, image = our_step(objective, before, batch, devices), normalise(batch["image"])
    output = theirs(channels_first(image), labels=kept(batch["mask"], objective))
    output.loss.backward()
    expected = {
        "loss": output.loss.detach(),
        "logits": channels_last(output.logits),
        "gradients": from_torch(gradients_of(theirs))["params"],
        "statistics": from_torch(arrays(theirs.state_dict()))["batch_stats"],
    }
    if name == "ViT, patch 16":
        gradients = (x["gradients"]["neck"]["level0_deconv1"] for x in (found, expected))
        of_no_effect(*gradients)
    for part in found:
        case = f"UperNet on {name}, training, float64, devices: {devices}: {part}"
        expect_agreement(case, found[part], expected[part], 1e-10)


def our_step(objective, variables, batch, devices):
    def step(variables, batch):
        def global_loss(params):
            loss, aux = objective.loss(variables | {"params": params}, batch, jax.random.key(0))
            return jax.lax.pmean(loss, "data"), aux

        (loss, aux), gradients = jax.value_and_grad(global_loss, has_aux=True)(variables["params"])
        image = objective.normalise(batch["image"])
        (logits, _), _ = objective.model.apply(variables, image, True, mutable=["batch_stats"])
        return loss, gradients, aux["batch_stats"], logits

    over = mesh.data_mesh(jax.devices()[:devices])
    out = (mesh.REPLICATED, mesh.REPLICATED, mesh.REPLICATED, mesh.SHARDED)
    mapped = mesh.pmapped(step, over, (mesh.REPLICATED, mesh.SHARDED), out)
    names = ("loss", "gradients", "statistics", "logits")
    return dict(zip(names, mapped(variables, batch), strict=True))


def examples(size):
    """Eight, of which some have no labelled pixel and some few."""
    rng = np.random.default_rng(0)
    mask = rng.integers(0, len(CLASSES), (8, *size)).astype(np.uint8)
    mask[rng.random(mask.shape) < np.linspace(0, 1, 8)[:, None, None]] = 255
    image = rng.integers(0, 10_000, (8, *size, 4)).astype(np.uint16)
    return {"image": image, "mask": mask, "index": np.arange(8)}


def kept(mask, objective):
    """Labels as transformers wants them: numbers of the outputs, all others ignored."""
    labels = np.full(256, 255)
    labels[list(objective.kept)] = range(len(objective.kept))
    return torch.tensor(labels[mask])


def of_no_effect(*gradients):
    """Take out a bias before a batch norm: its gradient is zero, what is found is rounding."""
    for gradient in gradients:
        kernel, bias = gradient["kernel"], gradient.pop("bias")
        assert np.abs(bias).max() <= 1e-12 * np.abs(kernel).max()


def arrays(tensors):
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}


def gradients_of(model):
    """Of every parameter, zero where the loss doesn't depend on it."""
    wanted = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return arrays({n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in wanted.items()})


def channels_first(x):
    return torch.tensor(np.array(x)).permute(0, 3, 1, 2)


def channels_last(x):
    return x.detach().permute(0, 2, 3, 1).numpy()
