"""MAE on real images: 8-bit aerial tiles, and Sentinel-2 patches."""

from realdata.recipes import make_pretraining_config

from ssl_jax.runs.training import train


def test_mae_learns_on_real_tiles(data_dir, tmp_path):
    config = make_pretraining_config("mae_vitb_ben4", "geotiff_tiles/naip", data_dir, steps=150)
    losses = train(config, tmp_path)["train"]
    print(f"\nMAE on NAIP: loss {losses['first_loss']:.3f} -> {losses['last_loss']:.3f}")
    assert losses["last_loss"] < 0.9 * losses["first_loss"]


def test_mae_learns_on_bigearthnet_patches(data_dir, tmp_path):
    config = make_pretraining_config("mae_vitb_ben4", "bigearthnet/v1/real", data_dir, steps=100)
    config.batch_size = 8
    config.data.train = "all"
    config.probe.train = ""  # the patches are in no official split
    config.optimizer.reference_batch = 0
    config.optimizer.learning_rate = 1e-3
    losses = train(config, tmp_path)["train"]
    print(f"\nMAE on BigEarthNet: loss {losses['first_loss']:.3f} -> {losses['last_loss']:.3f}")
    assert losses["last_loss"] < 0.9 * losses["first_loss"]
