import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from data_pipelines.errors import UserError
from ssl_jax.checkpoints import finding, loading, saving
from ssl_jax.devices.mesh import make_data_mesh, replicate
from ssl_jax.training.state import TrainState

CARD = {"format": 1, "sensor": {"name": "demo"}}


@pytest.fixture
def state():
    params = {"backbone": {"kernel": jnp.arange(12.0).reshape(3, 4)}, "head": {"bias": jnp.ones(2)}}
    stats = {"backbone": {"mean": jnp.full(4, 0.5)}}
    opt_state = optax.adamw(1e-3).init(params)
    return TrainState(jnp.asarray(7, jnp.int32), params, stats, opt_state)


def save_state(state, folder, devices=8):
    mesh = make_data_mesh(jax.devices()[:devices])
    with saving.Checkpointer(folder / "checkpoints", keep=2) as checkpoints:
        checkpoints.save(replicate(state, mesh), {"step": int(state.step)}, CARD)
    return folder


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_a_checkpoint_of_eight_devices_is_restored_on_any_number(state, tmp_path, devices):
    mesh = make_data_mesh(jax.devices()[:devices])
    restored = loading.load_state(save_state(state, tmp_path), jax.eval_shape(lambda: state), mesh)
    jax.tree.map(np.testing.assert_array_equal, restored, state)
    assert all(len(leaf.devices()) == devices for leaf in jax.tree.leaves(restored))


def test_variables_are_loaded_on_the_host_without_the_optimizer_state(state, tmp_path):
    variables = loading.load_variables(save_state(state, tmp_path))
    jax.tree.map(np.testing.assert_array_equal, variables, state.variables)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(variables))


def test_a_state_without_batch_statistics_is_restored_without(state, tmp_path):
    variables = loading.load_variables(save_state(state.replace(batch_stats={}), tmp_path))
    assert variables["batch_stats"] == {}


def test_the_card_is_loaded_as_it_was_saved(state, tmp_path):
    assert loading.load_card(save_state(state, tmp_path)) == CARD


def test_only_the_newest_checkpoints_are_kept(state, tmp_path):
    mesh = make_data_mesh()
    with saving.Checkpointer(tmp_path / "checkpoints", keep=2) as checkpoints:
        for step in (1, 2, 3):
            at_step = state.replace(step=jnp.asarray(step, jnp.int32))
            checkpoints.save(replicate(at_step, mesh), {"step": step}, CARD)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["2", "3"]
    assert finding.find_newest_checkpoint(tmp_path).name == "3"


def test_a_checkpoint_can_be_read_by_plain_orbax(state, tmp_path):
    from orbax.checkpoint import v1 as ocp

    checkpoint = finding.find_newest_checkpoint(save_state(state, tmp_path)).resolve()
    items = ocp.load_checkpointables(checkpoint)
    assert items["card"] == CARD
    assert items["data"] == {"step": 7}
    kernel = items["state"]["params"]["backbone"]["kernel"]
    np.testing.assert_array_equal(kernel, state.params["backbone"]["kernel"])


def test_a_folder_without_checkpoints_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no checkpoint: no such folder"):
        loading.load_card(tmp_path / "nothing")
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no checkpoint: no checkpoints/<step>"):
        loading.load_card(tmp_path)
