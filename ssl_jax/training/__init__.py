"""The loop and what it needs: state, optimizers, schedules, stopping, divergence and logs.

`loop` is the one training loop (`train`, `train_step`), `state` what a step maps (`TrainState`);
`optimizers` and `schedules` are made of Optax's, `shutdown` turns signals into a flag, `divergence`
deals with a loss that is no number, `metric_writer` and `tensorboard` record.
"""
