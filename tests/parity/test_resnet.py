"""ResNet-50 against that of timm, whose weights are in torchvision's layout.

Training steps are compared with one block per stage; with --full, also with all of ResNet-50.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import timm
import torch
from parity.references.torch_norms import randomise_norms, use_biased_variance
from relative_error import assert_agreement, relative_errors, use_float64

from ssl_jax.augment import Normalisation
from ssl_jax.devices import mesh
from ssl_jax.models import MLP, resnet50
from ssl_jax.objectives import Classification
from ssl_jax.objectives.shared import submodule_variables
from ssl_jax.weights.resnet import from_torch

CLASSES = 1000
RESNET50, SMALL = (3, 4, 6, 3), (1, 1, 1, 1)
each_depth = pytest.mark.parametrize(
    "stages", [SMALL, pytest.param(RESNET50, marks=pytest.mark.full)], ids=str
)


@pytest.mark.parametrize(
    ("size", "bands"), [pytest.param(224, 3, marks=pytest.mark.full), (120, 4)]
)
def test_maps_and_logits_of_resnet50_are_those_of_timm(size, bands):
    variables = from_torch(make_weights(bands, RESNET50))
    image = make_batch(2, size, bands)["image"] / np.float32(5000) - 1

    @jax.jit
    def apply(variables, image):
        backbone, head = (
            submodule_variables(variables, "backbone"),
            submodule_variables(variables, "head"),
        )
        levels = resnet50().apply(backbone, image, method="levels")
        return levels, MLP(CLASSES).apply(head, resnet50().apply(backbone, image))

    levels, logits = apply(variables, image)
    model = make_torch_model(bands, RESNET50, torch.float32).eval()
    with torch.no_grad():
        maps = model.forward_intermediates(channels_first(image), intermediates_only=True)
        expected = model(channels_first(image))
    assert_agreement(
        f"ResNet-50, {size} px, {bands} bands: maps and logits",
        {"maps": levels, "logits": logits},
        {"maps": tuple(x.permute(0, 2, 3, 1) for x in maps[1:]), "logits": expected},
        1e-5,
    )


@each_depth
@pytest.mark.parametrize("devices", [1, 8])
def test_a_training_step_on_any_number_of_devices_is_that_of_torch(devices, stages):
    batch = make_batch(8, 40, 4)
    with use_float64():
        ours, image = run_step(batch, stages, devices, jnp.float64)
    theirs = run_torch_step(image, batch["label"], stages, torch.float64)
    for part in ours:
        case = f"ResNet {stages}, training, 40 px, 4 bands, float64, devices: {devices}: {part}"
        assert_agreement(case, ours[part], theirs[part], 1e-10)


@each_depth
def test_the_loss_of_a_training_step_in_float32_is_that_of_torch(stages):
    """Compare loss and statistics, and print the error of the gradients without checking it.

    Gradients differ by about 1e-6 unless rounding changes the sign of a ReLU's input. Then they
    differ by 1e-3, and so do PyTorch's own in float32 and float64.
    """
    batch = make_batch(8, 64, 4)
    ours, image = run_step(batch, stages, 8, jnp.float32)
    theirs = run_torch_step(image, batch["label"], stages, torch.float32)
    exact = run_torch_step(image, batch["label"], stages, torch.float64)
    case = f"ResNet {stages}, training, 64 px, 4 bands, float32, devices: 8"
    for part in ("loss", "statistics"):
        assert_agreement(f"{case}: {part}", ours[part], exact[part], 1e-5)
    our_error, their_error = (
        np.median(list(relative_errors(step["gradients"], exact["gradients"]).values()))
        for step in (ours, theirs)
    )
    print(f"\n{case}: gradients: median error {our_error:.1e}, of PyTorch {their_error:.1e}")


def run_step(batch, stages, devices, dtype):
    """Return loss, gradients and statistics of a training step, and the normalised images."""
    bands = batch["image"].shape[-1]
    normalise = Normalisation((1e-4,) * bands, (0.0,) * bands, (5000.0,) * bands, (3000.0,) * bands)
    objective = Classification(
        resnet50(stages=stages, dtype=dtype),
        MLP(CLASSES, dtype=dtype),
        normalise,
        classes=tuple(map(str, range(CLASSES))),
        frozen=False,
    )

    def step(variables, batch):
        def global_loss(params):
            loss, aux = objective.loss(variables | {"params": params}, batch, jax.random.key(0))
            return jax.lax.pmean(loss, "data"), aux

        (loss, aux), gradients = jax.value_and_grad(global_loss, has_aux=True)(variables["params"])
        return {"loss": loss, "gradients": gradients, "statistics": aux["batch_stats"]}

    variables = jax.tree.map(
        lambda x: jnp.asarray(x, dtype), from_torch(make_weights(bands, stages))
    )
    data_mesh = mesh.make_data_mesh(jax.devices()[:devices])
    mapped = mesh.pmap_over_mesh(step, data_mesh, (mesh.REPLICATED, mesh.SHARDED), mesh.REPLICATED)
    return mapped(variables, batch), normalise(batch["image"])


def run_torch_step(image, label, stages, dtype):
    """Return loss, gradients and statistics of PyTorch."""
    model = use_biased_variance(make_torch_model(image.shape[-1], stages, dtype).train())
    logits = model(channels_first(image, dtype))
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(label))
    loss.backward()
    statistics = {name: buffer.numpy() for name, buffer in model.named_buffers() if buffer.ndim}
    gradients = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    return {
        "loss": loss.detach(),
        "gradients": from_torch(gradients)["params"],
        "statistics": from_torch(statistics)["batch_stats"],
    }


@functools.cache
def make_weights(bands, stages):
    """Create random weights as after training: biases are not zero, and branches are weak."""
    torch.manual_seed(0)
    model = make_timm_resnet(bands, stages)
    randomise_norms(model)
    for name, module in model.named_modules():
        if name.endswith("bn3"):
            torch.nn.init.uniform_(module.weight, 0.1, 0.3)
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def make_torch_model(bands, stages, dtype):
    model = make_timm_resnet(bands, stages)
    arrays = make_weights(bands, stages)
    model.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
    return model.to(dtype)


def make_timm_resnet(bands, stages):
    return timm.create_model("resnet50", layers=stages, in_chans=bands, num_classes=CLASSES)


def channels_first(image, dtype=torch.float32):
    return torch.tensor(np.array(image)).to(dtype).permute(0, 3, 1, 2)


def make_batch(count, size, bands):
    """Create images of squares in random colours, which a network can distinguish, unlike noise."""
    rng = np.random.default_rng(1)
    contrast = rng.uniform(0.1, 1, (count, 1, 1, 1))
    colours = rng.uniform(0, 10_000, (count, 8, 8, bands)) * contrast
    image = colours.repeat(size // 8, axis=1).repeat(size // 8, axis=2)
    return {
        "image": image.astype(np.uint16),
        "index": np.arange(count),
        "label": rng.integers(0, CLASSES, count),
    }
