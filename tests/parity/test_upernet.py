"""UperNet against that of transformers, on a ResNet and on a ViT."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from parity.references.torch_norms import randomise_norms, use_biased_variance
from parity.references.torch_upernet import Neck as TorchNeck
from parity.references.torch_upernet import ViTWithNeck, from_torch, from_torch_module, make_upernet
from relative_error import assert_agreement, use_float64

from ssl_jax.augment import Normalisation
from ssl_jax.devices import mesh
from ssl_jax.models import ResNet, UperNet, ViT
from ssl_jax.models.upernet import FCNHead, Neck, UPerHead
from ssl_jax.objectives import Segmentation

CLASSES = ("a", "b", "c", "d", "e", "f", "g")
CHANNELS = {"ResNet-50": (256, 512, 1024, 2048), "ViT-B": (768, 768, 768, 768)}
full = pytest.mark.full


@pytest.mark.parametrize("backbone", CHANNELS)
def test_the_logits_of_the_heads_at_full_size_are_those_of_transformers(backbone):
    maps = make_maps(CHANNELS[backbone], 2, (30, 15, 8, 4), np.float32)  # as of 120 px
    ours, theirs = make_heads(jnp.float32), make_transformers_heads(CHANNELS[backbone])
    apply = jax.jit(make_logits_function(ours))
    actual = apply(
        {name: from_torch_module(to_arrays(x.state_dict())) for name, x in theirs.items()}, maps
    )
    with torch.no_grad():
        expected = {
            name: channels_last(x([channels_first(level) for level in maps]))
            for name, x in theirs.items()
        }
    assert_agreement(f"UperNet's heads on maps of {backbone}, 120 px", actual, expected, 1e-5)


@pytest.mark.parametrize(
    "divisor", [8, pytest.param(1, marks=full)], ids=["an eighth", "full width"]
)
@pytest.mark.parametrize("backbone", CHANNELS)
def test_the_gradients_of_the_heads_are_those_of_transformers(backbone, divisor):
    """Compare in float64: rounding in float32 may change the sign of a ReLU's input."""
    channels = tuple(c // divisor for c in CHANNELS[backbone])
    maps = make_maps(channels, 1, (8, 4, 2, 1), np.float64)
    ours = make_heads(jnp.float64, divisor)
    theirs = make_transformers_heads(channels, divisor)
    for head in theirs.values():
        head.double()
    variables = {name: from_torch_module(to_arrays(x.state_dict())) for name, x in theirs.items()}
    rng = np.random.default_rng(1)
    weights = {"head": rng.normal(size=(1, 8, 8, 5)), "auxiliary": rng.normal(size=(1, 2, 2, 5))}

    def weighted_sum(variables, maps):
        logits = make_logits_function(ours)(variables, maps)
        return sum((logits[name] * weights[name]).sum() for name in logits)

    with use_float64():
        gradients, map_gradients = jax.jit(jax.grad(weighted_sum, (0, 1)))(variables, maps)
    inputs = [channels_first(level).requires_grad_() for level in maps]
    sum((x(inputs) * channels_first(weights[name])).sum() for name, x in theirs.items()).backward()
    actual = {name: gradient["params"] for name, gradient in gradients.items()}
    actual["maps"] = map_gradients
    expected = {name: from_torch_module(get_gradients(x))["params"] for name, x in theirs.items()}
    expected["maps"] = [channels_last(x.grad) for x in inputs]
    case = (
        f"UperNet's heads on 1/{divisor} of {backbone}'s channels, evaluation, float64: gradients"
    )
    assert_agreement(case, actual, expected, 1e-10)


def make_maps(channels, count, sides, dtype):
    rng = np.random.default_rng(0)
    shapes = [(count, side, side, c) for side, c in zip(sides, channels, strict=True)]
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def make_heads(dtype, divisor=1):
    shared = {"num_classes": 5, "dropout": 0.1, "norm": "batch", "dtype": dtype}
    return {
        "head": UPerHead(channels=512 // divisor, pool_scales=(1, 2, 3, 6), **shared),
        "auxiliary": FCNHead(channels=256 // divisor, **shared),
    }


def make_logits_function(heads):
    def compute_logits(variables, maps):
        inputs = {"head": maps, "auxiliary": maps[2]}
        return {name: x.apply(variables[name], inputs[name], False) for name, x in heads.items()}

    return compute_logits


def make_transformers_heads(channels, divisor=1):
    torch.manual_seed(0)
    model = make_upernet(None, channels, hidden=512 // divisor, auxiliary=256 // divisor).eval()
    return {"head": model.decode_head, "auxiliary": model.auxiliary_head}


@pytest.mark.parametrize("train", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("patch", [16, 8])
def test_the_neck_is_that_of_mmsegmentation(patch, train):
    torch.manual_seed(0)
    theirs = use_biased_variance(randomise_norms(TorchNeck(patch, 24))).double().train(train)
    variables = {"batch_stats": {}} | from_torch_module(to_arrays(theirs.state_dict()))
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(2, 5, 7, 24)) for _ in range(4)]
    inputs = [channels_first(x).requires_grad_() for x in maps]
    outputs = theirs(inputs)
    weights = [rng.normal(size=channels_last(x).shape) for x in outputs]

    def run(params, maps):
        def weighted_sum(params, maps):
            neck = Neck(patch, "batch", jnp.float64)
            current = variables | {"params": params}
            levels, updated = neck.apply(current, maps, train, mutable=["batch_stats"])
            return sum((x * w).sum() for x, w in zip(levels, weights, strict=True)), (
                levels,
                updated,
            )

        gradients, (levels, updated) = jax.grad(weighted_sum, (0, 1), has_aux=True)(params, maps)
        statistics = updated.get("batch_stats", {})
        return {"maps": levels, "gradients": gradients[0], "inputs": gradients[1]} | (
            {"statistics": statistics} if statistics else {}
        )

    with use_float64():
        one_device = mesh.make_data_mesh(jax.devices()[:1])
        replicated = mesh.REPLICATED
        step = mesh.pmap_over_mesh(run, one_device, (replicated, replicated), replicated)
        actual = step(variables["params"], tuple(maps))
    sum((x * channels_first(w)).sum() for x, w in zip(outputs, weights, strict=True)).backward()
    expected = {
        "maps": tuple(channels_last(x) for x in outputs),
        "gradients": from_torch_module(get_gradients(theirs))["params"],
        "inputs": tuple(channels_last(x.grad) for x in inputs),
        "statistics": from_torch_module(to_arrays(theirs.state_dict())).get("batch_stats"),
    }
    if patch == 16 and train:
        for results in (actual, expected):
            results["gradients"] = drop_ineffective_biases(results["gradients"], ["level0_deconv1"])
    for name in actual:
        case = f"UperNet's neck, patch {patch}, train={train}, float64: {name}"
        assert_agreement(case, actual[name], expected[name], 1e-10)


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("name", ["ResNet", "ViT, patch 16", "ViT, patch 8"])
def test_a_training_step_of_a_upernet_is_that_of_transformers(name, devices):
    torch.manual_seed(0)
    if name == "ResNet":
        size = (48, 40)
        theirs = make_upernet(None, [8, 16, 32, 64], hidden=12, auxiliary=6)
        backbone = ResNet(stages=(1, 1, 1, 1), bottleneck=False, width=8, dtype=jnp.float64)
    else:
        patch = int(name.split()[-1])
        side = {16: 48, 8: 40}[patch]
        size = (side, side)
        theirs = make_upernet(ViTWithNeck(side, patch), [16] * 4, hidden=12, auxiliary=6)
        sizes = {"dim": 16, "depth": 4, "heads": 2, "dtype": jnp.float64}
        backbone = ViT(patch_size=patch, image_size=side, **sizes)
    model = UperNet(backbone, 5, channels=12, auxiliary_channels=6, dropout=0.0, dtype=jnp.float64)
    normalise = Normalisation((1e-4,) * 4, (0.0,) * 4, (5000.0,) * 4, (3000.0,) * 4)
    objective = Segmentation(model, normalise, CLASSES, excluded=(1, 4))
    theirs.double().train()
    variables = from_torch(to_arrays(theirs.state_dict()))
    batch = make_batch(size)
    with use_float64():
        actual = run_step(objective, variables, batch, devices)
        image = normalise(batch["image"])
    output = theirs(channels_first(image), labels=to_labels(batch["mask"], objective))
    output.loss.backward()
    expected = {
        "loss": output.loss.detach(),
        "logits": channels_last(output.logits),
        "gradients": from_torch(get_gradients(theirs))["params"],
        "statistics": from_torch(to_arrays(theirs.state_dict()))["batch_stats"],
    }
    if name != "ResNet":  # the deconvolutions are followed by linear layers up to a batch norm
        for gradients in (actual["gradients"], expected["gradients"]):
            deconvolutions = [module for module in gradients["neck"] if "deconv" in module]
            gradients["neck"] = drop_ineffective_biases(gradients["neck"], deconvolutions)
    # `jax.nn.dot_product_attention` computes its softmax in float32 for any dtype.
    tolerance = 1e-10 if name == "ResNet" else 1e-5
    for part in actual:
        case = f"UperNet on {name}, training, float64, devices: {devices}: {part}"
        assert_agreement(case, actual[part], expected[part], tolerance)


def run_step(objective, variables, batch, devices):
    def step(variables, batch):
        def global_loss(params):
            loss, aux = objective.loss(variables | {"params": params}, batch, jax.random.key(0))
            return jax.lax.pmean(loss, "data"), aux

        (loss, aux), gradients = jax.value_and_grad(global_loss, has_aux=True)(variables["params"])
        image = objective.normalise(batch["image"])
        (logits, _), _ = objective.model.apply(variables, image, True, mutable=["batch_stats"])
        return loss, gradients, aux["batch_stats"], logits

    data_mesh = mesh.make_data_mesh(jax.devices()[:devices])
    out = (mesh.REPLICATED, mesh.REPLICATED, mesh.REPLICATED, mesh.SHARDED)
    mapped = mesh.pmap_over_mesh(step, data_mesh, (mesh.REPLICATED, mesh.SHARDED), out)
    names = ("loss", "gradients", "statistics", "logits")
    return dict(zip(names, mapped(variables, batch), strict=True))


def make_batch(size):
    """Create eight examples, some with few labelled pixels or none."""
    rng = np.random.default_rng(0)
    mask = rng.integers(0, len(CLASSES), (8, *size)).astype(np.uint8)
    mask[rng.random(mask.shape) < np.linspace(0, 1, 8)[:, None, None]] = 255
    image = rng.integers(0, 10_000, (8, *size, 4)).astype(np.uint16)
    return {"image": image, "mask": mask, "index": np.arange(8)}


def to_labels(mask, objective):
    """Convert a mask to the labels of transformers: indices of the outputs, or 255 to ignore."""
    labels = np.full(256, 255)
    labels[list(objective.kept)] = range(len(objective.kept))
    return torch.tensor(labels[mask])


def drop_ineffective_biases(gradients, modules):
    """Drop the gradients of biases before a batch norm, which are zero except for rounding."""
    kept = {module: dict(gradient) for module, gradient in gradients.items()}
    for module in modules:
        bias = kept[module].pop("bias")
        assert np.abs(bias).max() <= 1e-12 * np.abs(kept[module]["kernel"]).max()
    return kept


def to_arrays(tensors):
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}


def get_gradients(model):
    """Return the gradient of each parameter, zero if the loss doesn't depend on it."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return to_arrays(
        {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in parameters.items()}
    )


def channels_first(x):
    return torch.tensor(np.array(x)).permute(0, 3, 1, 2)


def channels_last(x):
    return x.detach().permute(0, 2, 3, 1).numpy()
