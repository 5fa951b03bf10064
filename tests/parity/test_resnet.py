"""ResNet-50 against timm's, whose weights are laid out as torchvision's.

The training steps are those of one block a stage, with --full of all of ResNet-50's.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import timm
import torch
from deviation import deviations, expect_agreement, in_float64
from parity.references.torch_norms import as_after_training, without_correction

from ssl_jax.augment import Normalisation
from ssl_jax.devices import mesh
from ssl_jax.models import MLP, resnet50
from ssl_jax.objectives import Classification
from ssl_jax.objectives.shared import submodule_variables
from ssl_jax.weights.resnet import from_torch

CLASSES = 1000
RESNET50, SMALL = (3, 4, 6, 3), (1, 1, 1, 1)
of_stages = pytest.mark.parametrize(
    "stages", [SMALL, pytest.param(RESNET50, marks=pytest.mark.full)], ids=str
)


@pytest.mark.parametrize(
    ("size", "bands"), [pytest.param(224, 3, marks=pytest.mark.full), (120, 4)]
)
def test_resnet50_gives_torchs_maps_and_logits(size, bands):
    variables = from_torch(weights(bands, RESNET50))
    image = examples(2, size, bands)["image"] / np.float32(5000) - 1

    @jax.jit
    def ours(variables, image):
        backbone, head = (
            submodule_variables(variables, "backbone"),
            submodule_variables(variables, "head"),
        )
        levels = resnet50().apply(backbone, image, method="levels")
        return levels, MLP(CLASSES).apply(head, resnet50().apply(backbone, image))

    levels, logits = ours(variables, image)
    model = torch_model(bands, RESNET50, torch.float32).eval()
    with torch.no_grad():
        maps = model.forward_intermediates(channels_first(image), intermediates_only=True)
        expected = model(channels_first(image))
    expect_agreement(
        f"ResNet-50, {size} px, {bands} bands: maps and logits",
        {"maps": levels, "logits": logits},
        {"maps": tuple(x.permute(0, 2, 3, 1) for x in maps[1:]), "logits": expected},
        1e-5,
    )


@of_stages
@pytest.mark.parametrize("devices", [1, 8])
def test_a_training_step_on_any_number_of_devices_is_torchs_on_the_whole_batch(devices, stages):
    batch = examples(8, 40, 4)
    with in_float64():
        ours, image = our_step(batch, stages, devices, jnp.float64)
    theirs = their_step(image, batch["label"], stages, torch.float64)
    for part in ours:
        case = f"ResNet {stages}, training, 40 px, 4 bands, float64, devices: {devices}: {part}"
        expect_agreement(case, ours[part], theirs[part], 1e-10)


@of_stages
def test_a_training_step_in_float32_is_torchs_but_for_relus_at_the_edge(stages):
    """Gradients are reported only: either side's may lose digits, and which is a matter of chance.

    Where no value is so close to zero that rounding takes it to the other side of a ReLU, they
    differ by some 1e-6; where one is, it moves the gradients by 1e-3, and PyTorch's own as much.
    """
    batch = examples(8, 64, 4)
    ours, image = our_step(batch, stages, 8, jnp.float32)
    theirs = their_step(image, batch["label"], stages, torch.float32)
    exact = their_step(image, batch["label"], stages, torch.float64)
    case = f"ResNet {stages}, training, 64 px, 4 bands, float32, devices: 8"
    for part in ("loss", "statistics"):
        expect_agreement(f"{case}: {part}", ours[part], exact[part], 1e-5)
    of_ours, of_theirs = (
        np.median(list(deviations(step["gradients"], exact["gradients"]).values()))
        for step in (ours, theirs)
    )
    print(f"\n{case}: gradients: median {of_ours:.1e}, PyTorch's from the exact {of_theirs:.1e}")


def our_step(batch, stages, devices, dtype):
    """Loss, gradients and statistics of a training step, as the loop takes it; and the images."""
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

    variables = jax.tree.map(lambda x: jnp.asarray(x, dtype), from_torch(weights(bands, stages)))
    over = mesh.make_data_mesh(jax.devices()[:devices])
    mapped = mesh.pmap_over_mesh(step, over, (mesh.REPLICATED, mesh.SHARDED), mesh.REPLICATED)
    return mapped(variables, batch), normalise(batch["image"])


def their_step(image, label, stages, dtype):
    """The same of PyTorch."""
    model = without_correction(torch_model(image.shape[-1], stages, dtype).train())
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
def weights(bands, stages):
    """Random, and as after training: no norm's shift is zero, and branches are weak."""
    torch.manual_seed(0)
    model = timm_resnet(bands, stages)
    as_after_training(model)
    for name, module in model.named_modules():
        if name.endswith("bn3"):
            torch.nn.init.uniform_(module.weight, 0.1, 0.3)
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def torch_model(bands, stages, dtype):
    model = timm_resnet(bands, stages)
    arrays = weights(bands, stages)
    model.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
    return model.to(dtype)


def timm_resnet(bands, stages):
    return timm.create_model("resnet50", layers=stages, in_chans=bands, num_classes=CLASSES)


def channels_first(image, dtype=torch.float32):
    return torch.tensor(np.array(image)).to(dtype).permute(0, 3, 1, 2)


def examples(count, size, bands):
    """Of squares, each in colours of its own: of noise all would look the same to a network."""
    rng = np.random.default_rng(1)
    contrast = rng.uniform(0.1, 1, (count, 1, 1, 1))
    colours = rng.uniform(0, 10_000, (count, 8, 8, bands)) * contrast
    image = colours.repeat(size // 8, axis=1).repeat(size // 8, axis=2)
    return {
        "image": image.astype(np.uint16),
        "index": np.arange(count),
        "label": rng.integers(0, CLASSES, count),
    }
