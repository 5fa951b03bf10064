import numpy as np
import pytest
from small_configs import make_small_config

from data_pipelines.errors import UserError
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.runs.config import load_config
from ssl_jax.runs.parts import assemble_run, make_objective


def count_by_reading(config):
    """Count the labels, or pixels, of each class in the training examples, one by one."""
    data = open_dataset(config.data.name, config.data.data_dir)
    examples = select_subset(data, config.data.train).examples
    target = "mask" if config.objective.name == "segmentation" else "label"
    values = np.concatenate([np.ravel(examples[i][target]) for i in range(len(examples))])
    return np.bincount(values, minlength=256)[: len(data.classes)], data.classes


@pytest.mark.parametrize("kind", ["classification", "segmentation"])
def test_balanced_weights_are_inverse_to_how_often_a_class_occurs(kind, data_dir):
    config = make_small_config(kind, data_dir)
    config.objective.class_weights = ("balanced",)
    counts, classes = count_by_reading(config)
    if kind == "segmentation":
        counts[classes.index("clutter")] = 0  # excluded
    run = assemble_run(config)
    expected = np.where(counts, counts.sum() / (np.count_nonzero(counts) * counts.clip(1)), 0)
    np.testing.assert_allclose(run.objective.class_weights, expected)
    weighted = (np.array(run.objective.class_weights) * counts).sum() / counts.sum()
    assert weighted == pytest.approx(1)
    assert make_objective(run.card).class_weights == ()  # loaded without the dataset
    assert isinstance(run.card, ModelCard)


def test_weights_are_given_on_the_command_line(data_dir):
    names = ["class_weights=balanced", "class_weights=1,2.5,0"]
    configs = [load_config("configs/transfer/nasc_mlp.py", [f"objective.{n}"]) for n in names]
    assert configs[0].objective.class_weights == ("balanced",)
    assert configs[1].objective.class_weights == (1, 2.5, 0)


def test_weights_of_another_number_of_classes_are_refused(data_dir):
    config = make_small_config("classification", data_dir)
    config.objective.class_weights = (1.0, 2.0)
    with pytest.raises(UserError, match=r"config.objective: class_weights: found \(1.0, 2.0\)"):
        assemble_run(config)


@pytest.mark.parametrize("ratio", [0, 1, -0.1, 0.999])
def test_a_mask_ratio_that_hides_all_or_nothing_is_refused(ratio, data_dir):
    config = make_small_config("mae", data_dir)
    config.objective.mask_ratio = float(ratio)
    with pytest.raises(UserError, match=f"mask_ratio: found {float(ratio)}"):
        assemble_run(config)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [("simclr", "temperature", 0.0), ("mae", "accumulate", 0), ("simclr", "accumulate", -1)],
)
def test_other_impossible_values_are_refused(kind, field, value, data_dir):
    config = make_small_config(kind, data_dir)
    config.objective[field] = value
    with pytest.raises(UserError, match=f"config.objective: {field}: found {value}"):
        assemble_run(config)
