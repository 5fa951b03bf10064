"""The training loop, its state, optimizers and schedules, graceful shutdown, and metric logging.

`loop` holds the training loop (`train`), `steps` the compiled steps (`make_train_step`), `state`
the training state (`TrainState`), and `loss_scaling` what float16 adds to it. `optimizers` and
`schedules` are built from Optax, `shutdown` turns signals into a flag, and `divergence` handles
losses that are not finite or have exploded. `metric_accumulator` accumulates the training metrics;
`metric_writer` and `tensorboard` write metrics.
"""
