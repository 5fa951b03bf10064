"""UperNet against transformers', on the maps of a ResNet and on those of a ViT."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from deviation import expect_agreement, in_float64
from parity.references.torch_norms import as_after_training, without_correction
from parity.references.torch_upernet import Neck as TorchNeck
from parity.references.torch_upernet import ViTWithNeck, from_torch, from_torch_part, upernet

from ssl_jax.augment import Normalisation
from ssl_jax.devices import mesh
from ssl_jax.models import ResNet, UperNet, ViT
from ssl_jax.models.upernet import FCNHead, Neck, UPerHead
from ssl_jax.objectives import Segmentation

CLASSES = ("a", "b", "c", "d", "e", "f", "g")
CHANNELS = {"ResNet-50": (256, 512, 1024, 2048), "ViT-B": (768, 768, 768, 768)}
full = pytest.mark.full


@pytest.mark.parametrize("backbone", CHANNELS)
def test_at_full_size_the_heads_give_the_logits_of_transformers(backbone):
    maps = levels_of(CHANNELS[backbone], 2, (30, 15, 8, 4), np.float32)  # as of 120 px
    ours, theirs = heads(jnp.float32), transformers_heads(CHANNELS[backbone])
    apply = jax.jit(logits_of(ours))
    found = apply(
        {name: from_torch_part(arrays(x.state_dict())) for name, x in theirs.items()}, maps
    )
    with torch.no_grad():
        expected = {
            name: channels_last(x([channels_first(level) for level in maps]))
            for name, x in theirs.items()
        }
    expect_agreement(f"UperNet's heads on maps of {backbone}, 120 px", found, expected, 1e-5)


@pytest.mark.parametrize("part", [8, pytest.param(1, marks=full)], ids=["an eighth", "full width"])
@pytest.mark.parametrize("backbone", CHANNELS)
def test_the_gradients_of_the_heads_are_those_of_transformers(backbone, part):
    """In float64: in float32 either may take a value next to zero for the other side of a ReLU."""
    channels = tuple(c // part for c in CHANNELS[backbone])
    maps = levels_of(channels, 1, (8, 4, 2, 1), np.float64)
    ours, theirs = heads(jnp.float64, part), transformers_heads(channels, part)
    for head in theirs.values():
        head.double()
    variables = {name: from_torch_part(arrays(x.state_dict())) for name, x in theirs.items()}
    rng = np.random.default_rng(1)
    weights = {"head": rng.normal(size=(1, 8, 8, 5)), "auxiliary": rng.normal(size=(1, 2, 2, 5))}

    def product(variables, maps):
        logits = logits_of(ours)(variables, maps)
        return sum((logits[name] * weights[name]).sum() for name in logits)

    with in_float64():
        gradients, of_maps = jax.jit(jax.grad(product, argnums=(0, 1)))(variables, maps)
    inputs = [channels_first(level).requires_grad_() for level in maps]
    sum((x(inputs) * channels_first(weights[name])).sum() for name, x in theirs.items()).backward()
    found = {name: gradient["params"] for name, gradient in gradients.items()} | {"maps": of_maps}
    expected = {name: from_torch_part(gradients_of(x))["params"] for name, x in theirs.items()}
    expected["maps"] = [channels_last(x.grad) for x in inputs]
    case = f"UperNet's heads on 1/{part} of {backbone}'s channels, evaluation, float64: gradients"
    expect_agreement(case, found, expected, 1e-10)


def levels_of(channels, count, sides, dtype):
    rng = np.random.default_rng(0)
    shapes = [(count, side, side, c) for side, c in zip(sides, channels, strict=True)]
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def heads(dtype, part=1):
    shared = {"num_classes": 5, "dropout": 0.1, "norm": "batch", "dtype": dtype}
    return {
        "head": UPerHead(channels=512 // part, pool_scales=(1, 2, 3, 6), **shared),
        "auxiliary": FCNHead(channels=256 // part, **shared),
    }


def logits_of(heads):
    def logits(variables, maps):
        inputs = {"head": maps, "auxiliary": maps[2]}
        return {name: x.apply(variables[name], inputs[name], False) for name, x in heads.items()}

    return logits


def transformers_heads(channels, part=1):
    torch.manual_seed(0)
    model = upernet(None, channels, hidden=512 // part, auxiliary=256 // part).eval()
    return {"head": model.decode_head, "auxiliary": model.auxiliary_head}


@pytest.mark.parametrize("train", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("patch", [16, 8])
def test_the_neck_is_feature2pyramid(patch, train):
    torch.manual_seed(0)
    theirs = without_correction(as_after_training(TorchNeck(patch, 24))).double().train(train)
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
        one = mesh.make_data_mesh(jax.devices()[:1])
        replicated = mesh.REPLICATED
        step = mesh.pmap_over_mesh(run, one, (replicated, replicated), replicated)
        found = step(variables["params"], tuple(maps))
    sum((x * channels_first(w)).sum() for x, w in zip(outputs, weights, strict=True)).backward()
    expected = {
        "maps": tuple(channels_last(x) for x in outputs),
        "gradients": from_torch_part(gradients_of(theirs))["params"],
        "inputs": tuple(channels_last(x.grad) for x in inputs),
        "statistics": from_torch_part(arrays(theirs.state_dict())).get("batch_stats"),
    }
    if patch == 16 and train:
        for step in (found, expected):
            step["gradients"] = without_effect(step["gradients"], ["level0_deconv1"])
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
    if name != "ResNet":  # from deconvolutions on, all is linear up to the norms of the head
        for gradients in (found["gradients"], expected["gradients"]):
            deconvolutions = [module for module in gradients["neck"] if "deconv" in module]
            gradients["neck"] = without_effect(gradients["neck"], deconvolutions)
    # `jax.nn.dot_product_attention` takes its softmax in float32 whatever it is given.
    tolerance = 1e-10 if name == "ResNet" else 1e-5
    for part in found:
        case = f"UperNet on {name}, training, float64, devices: {devices}: {part}"
        expect_agreement(case, found[part], expected[part], tolerance)


def our_step(objective, variables, batch, devices):
    def step(variables, batch):
        def global_loss(params):
            loss, aux = objective.loss(variables | {"params": params}, batch, jax.random.key(0))
            return jax.lax.pmean(loss, "data"), aux

        (loss, aux), gradients = jax.value_and_grad(global_loss, has_aux=True)(variables["params"])
        image = objective.normalise(batch["image"])
        (logits, _), _ = objective.model.apply(variables, image, True, mutable=["batch_stats"])
        return loss, gradients, aux["batch_stats"], logits

    over = mesh.make_data_mesh(jax.devices()[:devices])
    out = (mesh.REPLICATED, mesh.REPLICATED, mesh.REPLICATED, mesh.SHARDED)
    mapped = mesh.pmap_over_mesh(step, over, (mesh.REPLICATED, mesh.SHARDED), out)
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


def without_effect(gradients, modules):
    """`gradients` without the biases that a batch norm takes out again: theirs are but rounding."""
    rest = {module: dict(gradient) for module, gradient in gradients.items()}
    for module in modules:
        bias = rest[module].pop("bias")
        assert np.abs(bias).max() <= 1e-12 * np.abs(rest[module]["kernel"]).max()
    return rest


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
