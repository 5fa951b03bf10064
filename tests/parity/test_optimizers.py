"""Ten steps of LARS, AdamW and SGD on the parameters of real networks, against the references.

The references of AdamW and SGD are PyTorch's optimizers in float64, with the parameter groups of
the reference code; that of LARS is google-research/simclr's `lars_optimizer.py` in NumPy. In
float64 ours must agree up to rounding, which proves the formula, and in float32 to its precision.
"""

import functools
import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from relative_error import assert_agreement

from data_pipelines import bands
from ssl_jax import models
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.devices import pytrees
from ssl_jax.models.simclr import SimCLRModel
from ssl_jax.runs import parts
from ssl_jax.runs.config import load_config, load_module
from ssl_jax.training import optimizers
from ssl_jax.training.optimizers import assign_groups

STEPS = 10
RATES = 1e-2 * np.linspace(
    1, 2, STEPS
)  # varying, so that the place of the rate in the formula matters
DEPTH = 3
VIT = models.vit_ti(depth=DEPTH, dim=24, heads=3, patch_size=16, image_size=32)
NETWORKS = {
    "SimCLR": SimCLRModel(
        models.resnet50(stages=(1, 1, 1, 1), width=8), models.Projection(hidden=16, out=8)
    ),
    "MAE": models.MaskedAutoencoder(VIT, channels=4, dim=16, depth=1, heads=2),
    "UperNet": models.UperNet(VIT.clone(position="learned"), num_classes=5, channels=8),
}


@functools.cache
def make_parameters(network):
    """Create random parameters by path, float64, and ten gradients of each; some are zero."""
    noise = {"noise": jnp.zeros((2, 4))} if network == "MAE" else {}
    shapes = jax.eval_shape(
        lambda: NETWORKS[network].init(jax.random.key(0), jnp.zeros((2, 32, 32, 4)), **noise)
    )["params"]
    rng = np.random.default_rng(0)
    paths, _ = jax.tree_util.tree_flatten_with_path(shapes)
    shapes = {pytrees.parameter_path(path): leaf.shape for path, leaf in paths}
    values = {name: rng.normal(0, 0.1, shape) for name, shape in shapes.items()}
    gradients = [{n: rng.normal(0, 1e-2, s) for n, s in shapes.items()} for _ in range(STEPS)]
    first, second = sorted(name for name in values if name.endswith("kernel"))[:2]
    values[first][:] = 0
    values[second][:] = gradients[0][second][:] = 0
    return values, gradients


def unflatten(flat):
    """Convert {"a/b": x} to a nested dict of parameters, {"a": {"b": x}}."""
    tree = {}
    for name, leaf in flat.items():
        *modules, last = name.split("/")
        node = tree
        for module in modules:
            node = node.setdefault(module, {})
        node[last] = jnp.asarray(leaf)
    return tree


def run_steps(optimizer, network, dtype):
    """Return the parameters by path after ten steps."""
    values, gradients = jax.tree.map(lambda x: x.astype(dtype), make_parameters(network))
    params = unflatten(values)

    @jax.jit
    def step(params, state, gradient):
        updates, state = optimizer.update(gradient, state, params, schedule=schedule)
        return jax.tree.map(lambda p, u: p + u, params, updates), state

    state = optimizer.init(params)
    for gradient in gradients:
        params, state = step(params, state, unflatten(gradient))
    paths, _ = jax.tree_util.tree_flatten_with_path(params)
    return {pytrees.parameter_path(path): np.asarray(leaf) for path, leaf in paths}


def check_steps(comparison, optimizer, network, theirs):
    """Check the result of ten steps: their sum in float64, and the parameters in float32."""
    initial, _ = make_parameters(network)
    updates = {name: value - initial[name] for name, value in theirs.items()}
    with jax.enable_x64(True):
        values = run_steps(optimizer, network, np.float64)
    float64_updates = {name: value - initial[name] for name, value in values.items()}
    assert_agreement(f"{comparison}, {network}, float64", float64_updates, updates, 1e-12)
    float32_values = run_steps(optimizer, network, np.float32)
    # In the first steps, Adam's 1 - b2 ** t has an error of 1e-5 in float32; PyTorch's is float64.
    tolerance = 1e-5 if comparison.startswith("AdamW") else 1e-6
    assert_agreement(f"{comparison}, {network}, float32", float32_values, theirs, tolerance)


def schedule(step):
    return jnp.asarray(RATES)[step]


def is_excluded(value):
    """Return whether the references exclude a parameter from decay: `p.ndim == 1`."""
    return value.ndim == 1


def run_torch_steps(network, make_optimizer, groups):
    """Run ten steps; groups may have the `lr_scale` of facebookresearch/mae."""
    values, gradients = make_parameters(network)
    tensors = {n: torch.nn.Parameter(torch.from_numpy(x.copy())) for n, x in values.items()}
    parameter_groups = [
        group | {"params": [tensors[n] for n in group["params"]]} for group in groups
    ]
    optimizer = make_optimizer(parameter_groups)
    for rate, gradient in zip(RATES, gradients, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        for name, tensor in tensors.items():
            tensor.grad = torch.from_numpy(gradient[name].copy())
        optimizer.step()
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def make_timm_groups(values, weight_decay):
    """Create the groups of timm's `add_weight_decay`, used in MAE's pretraining: tokens decay."""
    return [
        {
            "params": [n for n, x in values.items() if not is_excluded(x)],
            "weight_decay": weight_decay,
        },
        {"params": [n for n, x in values.items() if is_excluded(x)], "weight_decay": 0.0},
    ]


def make_layer_decay_groups(values, weight_decay, layer_decay):
    """Create the groups of `param_groups_lrd` of facebookresearch/mae, one per parameter."""
    num_layers = DEPTH + 1

    def get_layer(name):
        if name in ("backbone/cls_token", "backbone/pos_embed"):
            return 0
        if name.startswith("backbone/patch_embed"):
            return 0
        if name.startswith("backbone/blocks_"):
            return int(name.split("/")[1].removeprefix("blocks_")) + 1
        return num_layers

    no_decay = ("backbone/cls_token", "backbone/pos_embed")  # VisionTransformer.no_weight_decay
    return [
        {
            "params": [name],
            "weight_decay": 0.0 if is_excluded(value) or name in no_decay else weight_decay,
            "lr_scale": layer_decay ** (num_layers - get_layer(name)),
        }
        for name, value in values.items()
    ]


@pytest.mark.parametrize("network", ["SimCLR", "MAE"])
def test_lars_is_that_of_simclr(network):
    """The reference excludes "batch_normalization" and "bias", and has `classic_momentum`."""
    decay, momentum, trust = 1e-2, 0.9, 0.001
    values, gradients = make_parameters(network)
    values, velocity = dict(values), {name: 0.0 for name in values}
    for rate, gradient in zip(RATES, gradients, strict=True):
        for name, value in values.items():
            scaled_rate, update = rate, gradient[name]
            if not is_excluded(value):
                update = update + decay * value
                norm, update_norm = np.linalg.norm(value), np.linalg.norm(update)
                if norm > 0 and update_norm > 0:
                    scaled_rate = rate * trust * norm / update_norm
            velocity[name] = momentum * velocity[name] + scaled_rate * update
            values[name] = value - velocity[name]
    lars = optimizers.lars(weight_decay=decay, momentum=momentum, trust_coefficient=trust)
    check_steps("LARS", lars, network, values)


@pytest.mark.parametrize("network", ["MAE", "SimCLR"])
def test_adamw_for_pretraining_is_that_of_torch_with_timms_groups(network):
    values, _ = make_parameters(network)
    theirs = run_torch_steps(
        network,
        functools.partial(torch.optim.AdamW, betas=(0.9, 0.95), eps=1e-8),
        make_timm_groups(values, 0.05),
    )
    adamw = optimizers.adamw(weight_decay=0.05, b1=0.9, b2=0.95)
    check_steps("AdamW", adamw, network, theirs)


def test_adamw_with_layer_decay_is_that_of_torch_with_maes_groups():
    values, _ = make_parameters("UperNet")
    assert {"backbone/cls_token", "backbone/pos_embed", "auxiliary/conv/bn/scale"} <= values.keys()
    theirs = run_torch_steps(
        "UperNet",
        functools.partial(torch.optim.AdamW, betas=(0.9, 0.999), eps=1e-8),
        make_layer_decay_groups(values, 0.05, 0.65),
    )
    adamw = optimizers.adamw(
        optimizers.layer_decay_groups(0.65, DEPTH), weight_decay=0.05, b2=0.999
    )
    check_steps("AdamW with layer decay", adamw, "UperNet", theirs)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_that_of_torch_with_all_parameters_in_one_group(nesterov):
    """As in mmsegmentation, biases and norms decay too."""
    values, _ = make_parameters("SimCLR")
    theirs = run_torch_steps(
        "SimCLR",
        functools.partial(torch.optim.SGD, lr=1.0, momentum=0.9, nesterov=nesterov),
        [{"params": list(values), "weight_decay": 5e-4}],
    )
    sgd = optimizers.sgd(weight_decay=5e-4, momentum=0.9, nesterov=nesterov)
    check_steps("Nesterov's SGD" if nesterov else "SGD", sgd, "SimCLR", theirs)


def test_the_class_token_decays_in_pretraining_and_not_under_layer_decay():
    """As in MAE: `add_weight_decay` versus `param_groups_lrd(no_weight_decay_list=...)`."""
    tree = unflatten(make_parameters("UperNet")[0])
    pretraining = assign_groups(tree, optimizers.decay_weights_only())["backbone"]
    fine_tuning = assign_groups(tree, optimizers.layer_decay_groups(0.65, DEPTH))["backbone"]
    for token in ("cls_token", "pos_embed"):
        assert pretraining[token].decays
        assert not fine_tuning[token].decays
    mask_token = assign_groups(
        unflatten(make_parameters("MAE")[0]), optimizers.decay_weights_only()
    )
    assert mask_token["decoder"]["mask_token"].decays


def list_recipes():
    """Yield the config of each single run, with both backbones if there is a choice."""
    for folder in ("pretrain", "transfer"):
        for path in sorted(Path("configs", folder).glob("*.py")):
            parameters = inspect.signature(load_module(str(path)).get_config).parameters
            suffixes = (":resnet50", ":vit_b") if parameters else ("",)
            yield from (f"{path}{suffix}" for suffix in suffixes)


def make_objective(config):
    """Create the objective of a config, and the shapes of its parameters at full size."""
    card = ModelCard(
        sensor=bands.POTSDAM.select(config.data.bands),
        image_shape=(64, 64, len(config.data.bands)),
        image_dtype="uint8",
        target={"classification": "label", "segmentation": "mask"}.get(
            config.objective.name, "none"
        ),
        classes=("forest", "water", "clutter"),
        colours=(),
        ignore_label=255,
        config=config,
    )
    objective = parts.make_objective(card)
    batch = {
        "image": jax.ShapeDtypeStruct((1, *card.image_shape), np.uint8),
        "mask": jax.ShapeDtypeStruct((1, *card.image_shape[:2]), np.uint8),
        "index": jax.ShapeDtypeStruct((1,), np.int32),
    }
    return objective, jax.eval_shape(objective.init, jax.random.key(0), batch)["params"]


@pytest.mark.parametrize("recipe", list_recipes())
def test_each_parameter_of_a_recipe_has_the_expected_group(recipe):
    config = load_config(recipe)
    objective, shapes = make_objective(config)
    groups = parts.make_parameter_groups(config, objective)
    print(f"\n{recipe}\n{optimizers.describe_groups(shapes, groups)}")
    parameter_groups, _ = jax.tree_util.tree_flatten_with_path(
        assign_groups(shapes, groups), is_leaf=lambda x: isinstance(x, optimizers.ParameterGroup)
    )
    layer_decay = config.optimizer.get("layer_decay", 1.0)
    for (path, group), leaf in zip(parameter_groups, jax.tree.leaves(shapes), strict=True):
        name = pytrees.parameter_path(path)
        if config.objective.get("frozen", False) and name.startswith("backbone/"):
            assert group.scale == 0, name
            continue
        is_token = layer_decay != 1.0 and name in ("backbone/cls_token", "backbone/pos_embed")
        excluded = config.optimizer.name != "sgd" and (leaf.ndim == 1 or is_token)
        assert group.decays == (not excluded), name
        depth = 12 + 1 - int(name.split("/")[1][7:]) - 1 if "backbone/blocks_" in name else 0
        if name.startswith(("backbone/patch_embed", "backbone/cls_token", "backbone/pos_embed")):
            depth = 13
        assert group.scale == pytest.approx(layer_decay**depth), name
