"""Ten steps of LARS, AdamW and SGD on the parameters of real networks, against the references.

PyTorch's own optimizers are the reference where it has them, in float64 and with the parameter
groups of the reference code; LARS is google-research/simclr's `lars_optimizer.py` in NumPy. With
float64 ours must agree to rounding, which proves the formula, and with float32 to its precision.
"""

import functools
import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from deviation import expect_agreement

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
RATES = 1e-2 * np.linspace(1, 2, STEPS)  # they change, so that it matters where they enter
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
def parameters(network):
    """Random values (float64) by path, one tensor all zero, and ten gradients, one of them zero."""
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


def nested(flat):
    """{"a/b": x} as {"a": {"b": x}}, as parameters are held."""
    tree = {}
    for name, leaf in flat.items():
        *modules, last = name.split("/")
        place = tree
        for module in modules:
            place = place.setdefault(module, {})
        place[last] = jnp.asarray(leaf)
    return tree


def ours(optimizer, network, dtype):
    """Parameters by path after ten steps."""
    values, gradients = jax.tree.map(lambda x: x.astype(dtype), parameters(network))
    params = nested(values)

    @jax.jit
    def step(params, state, gradient):
        updates, state = optimizer.update(gradient, state, params)
        return jax.tree.map(lambda p, u: p + u, params, updates), state

    state = optimizer.init(params)
    for gradient in gradients:
        params, state = step(params, state, nested(gradient))
    paths, _ = jax.tree_util.tree_flatten_with_path(params)
    return {pytrees.parameter_path(path): np.asarray(leaf) for path, leaf in paths}


def expect_same_steps(comparison, optimizer, network, theirs):
    """All ten steps taken together agree: in float64 their sum does, in float32 where they lead."""
    start, _ = parameters(network)
    moved = {name: value - start[name] for name, value in theirs.items()}
    with jax.enable_x64(True):
        in_double = ours(optimizer, network, np.float64)
    in_double = {name: value - start[name] for name, value in in_double.items()}
    expect_agreement(f"{comparison}, {network}, float64", in_double, moved, 1e-12)
    in_single = ours(optimizer, network, np.float32)
    # 1 - b2 ** t of Adam, which PyTorch computes in float64, is off by 1e-5 in the first steps.
    tolerance = 1e-5 if comparison.startswith("AdamW") else 1e-6
    expect_agreement(f"{comparison}, {network}, float32", in_single, theirs, tolerance)


def schedule(step):
    return jnp.asarray(RATES)[step]


def plain(name, value):
    """Whether a reference excludes it: `p.ndim == 1`, be it a bias or of a normalisation."""
    return value.ndim == 1


def through_torch(network, make, groups):
    """Ten steps of `make(groups)`, whose groups have the `lr_scale` of facebookresearch/mae."""
    values, gradients = parameters(network)
    tensors = {n: torch.nn.Parameter(torch.from_numpy(x.copy())) for n, x in values.items()}
    grouped = [group | {"params": [tensors[n] for n in group["params"]]} for group in groups]
    optimizer = make(grouped)
    for rate, gradient in zip(RATES, gradients, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        for name, tensor in tensors.items():
            tensor.grad = torch.from_numpy(gradient[name].copy())
        optimizer.step()
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def groups_of_timm(values, weight_decay):
    """`add_weight_decay` of timm, with which MAE pretrains: tokens decay."""
    return [
        {"params": [n for n, x in values.items() if not plain(n, x)], "weight_decay": weight_decay},
        {"params": [n for n, x in values.items() if plain(n, x)], "weight_decay": 0.0},
    ]


def groups_of_layer_decay(values, weight_decay, layer_decay):
    """`param_groups_lrd` of facebookresearch/mae, one group a parameter."""
    layers = DEPTH + 1

    def layer(name):
        if name in ("backbone/cls_token", "backbone/pos_embed"):
            return 0
        if name.startswith("backbone/patch_embed"):
            return 0
        if name.startswith("backbone/blocks_"):
            return int(name.split("/")[1].removeprefix("blocks_")) + 1
        return layers

    without = ("backbone/cls_token", "backbone/pos_embed")  # VisionTransformer.no_weight_decay
    return [
        {
            "params": [name],
            "weight_decay": 0.0 if plain(name, value) or name in without else weight_decay,
            "lr_scale": layer_decay ** (layers - layer(name)),
        }
        for name, value in values.items()
    ]


@pytest.mark.parametrize("network", ["SimCLR", "MAE"])
def test_lars_is_that_of_simclr(network):
    """`classic_momentum` with `exclude_from_weight_decay=["batch_normalization", "bias"]`."""
    decay, momentum, trust = 1e-2, 0.9, 0.001
    values, gradients = parameters(network)
    values, velocity = dict(values), {name: 0.0 for name in values}
    for rate, gradient in zip(RATES, gradients, strict=True):
        for name, value in values.items():
            scaled, change = rate, gradient[name]
            if not plain(name, value):
                change = change + decay * value
                norm, norm_of_change = np.linalg.norm(value), np.linalg.norm(change)
                if norm > 0 and norm_of_change > 0:
                    scaled = rate * trust * norm / norm_of_change
            velocity[name] = momentum * velocity[name] + scaled * change
            values[name] = value - velocity[name]
    lars = optimizers.lars(schedule, weight_decay=decay, momentum=momentum, trust_coefficient=trust)
    expect_same_steps("LARS", lars, network, values)


@pytest.mark.parametrize("network", ["MAE", "SimCLR"])
def test_adamw_of_pretraining_is_torchs_with_the_groups_of_timm(network):
    values, _ = parameters(network)
    theirs = through_torch(
        network,
        functools.partial(torch.optim.AdamW, betas=(0.9, 0.95), eps=1e-8),
        groups_of_timm(values, 0.05),
    )
    adamw = optimizers.adamw(schedule, weight_decay=0.05, b1=0.9, b2=0.95)
    expect_same_steps("AdamW", adamw, network, theirs)


def test_adamw_with_layer_decay_is_torchs_with_the_groups_of_mae():
    values, _ = parameters("UperNet")
    assert {"backbone/cls_token", "backbone/pos_embed", "auxiliary/conv/bn/scale"} <= values.keys()
    theirs = through_torch(
        "UperNet",
        functools.partial(torch.optim.AdamW, betas=(0.9, 0.999), eps=1e-8),
        groups_of_layer_decay(values, 0.05, 0.65),
    )
    adamw = optimizers.adamw(
        schedule, optimizers.layer_decay_groups(0.65, DEPTH), weight_decay=0.05, b2=0.999
    )
    expect_same_steps("AdamW with layer decay", adamw, "UperNet", theirs)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_torchs_on_all_parameters_as_one_group(nesterov):
    """As mmsegmentation has it: biases and norms decay as well."""
    values, _ = parameters("SimCLR")
    theirs = through_torch(
        "SimCLR",
        functools.partial(torch.optim.SGD, lr=1.0, momentum=0.9, nesterov=nesterov),
        [{"params": list(values), "weight_decay": 5e-4}],
    )
    sgd = optimizers.sgd(schedule, weight_decay=5e-4, momentum=0.9, nesterov=nesterov)
    expect_same_steps("Nesterov's SGD" if nesterov else "SGD", sgd, "SimCLR", theirs)


def test_the_class_token_decays_in_pretraining_and_not_under_layer_decay():
    """As in MAE: `add_weight_decay` against `param_groups_lrd(no_weight_decay_list=...)`."""
    tree = nested(parameters("UperNet")[0])
    pretraining = assign_groups(tree, optimizers.decay_weights_only())["backbone"]
    fine_tuning = assign_groups(tree, optimizers.layer_decay_groups(0.65, DEPTH))["backbone"]
    for token in ("cls_token", "pos_embed"):
        assert pretraining[token].decays
        assert not fine_tuning[token].decays
    mask_token = assign_groups(nested(parameters("MAE")[0]), optimizers.decay_weights_only())
    assert mask_token["decoder"]["mask_token"].decays


def recipes():
    """Every config of a single run, those that take a word with each of its backbones."""
    for folder in ("pretrain", "transfer"):
        for path in sorted(Path("configs", folder).glob("*.py")):
            takes_word = inspect.signature(load_module(str(path)).get_config).parameters
            words = (":resnet50", ":vit_b") if takes_word else ("",)
            yield from (f"{path}{word}" for word in words)


def at_real_size(config):
    """The objective of a config and the shapes of its parameters; nothing is allocated."""
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


@pytest.mark.parametrize("recipe", recipes())
def test_every_parameter_of_a_recipe_falls_in_exactly_one_group(recipe):
    config = load_config(recipe)
    objective, shapes = at_real_size(config)
    groups = parts.make_parameter_groups(config, objective)
    print(f"\n{recipe}\n{optimizers.describe_groups(shapes, groups)}")
    found, _ = jax.tree_util.tree_flatten_with_path(
        assign_groups(shapes, groups), is_leaf=lambda x: isinstance(x, optimizers.ParameterGroup)
    )
    layer_decay = config.optimizer.get("layer_decay", 1.0)
    for (path, group), leaf in zip(found, jax.tree.leaves(shapes), strict=True):
        name = pytrees.parameter_path(path)
        if config.objective.get("frozen", False) and name.startswith("backbone/"):
            assert group.scale == 0, name
            continue
        token = layer_decay != 1.0 and name in ("backbone/cls_token", "backbone/pos_embed")
        exempt = config.optimizer.name != "sgd" and (leaf.ndim == 1 or token)
        assert group.decays == (not exempt), name
        blocks = 12 + 1 - int(name.split("/")[1][7:]) - 1 if "backbone/blocks_" in name else 0
        if name.startswith(("backbone/patch_embed", "backbone/cls_token", "backbone/pos_embed")):
            blocks = 13
        assert group.scale == pytest.approx(layer_decay**blocks), name
