"""The training loop, its state, optimizers and schedules, graceful shutdown, and metric logging.

`loop` holds the training loop (`train`, `make_train_step`), `state` the training state
(`TrainState`); `optimizers` and `schedules` are built from Optax, `shutdown` turns signals into a
flag, and `divergence` handles losses that are not finite or have exploded. `metric_accumulator`
accumulates the training metrics; `metric_writer` and `tensorboard` write metrics.
"""
