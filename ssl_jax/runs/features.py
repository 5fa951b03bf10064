"""Features of a frozen backbone, computed once and then read like the examples of a dataset."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from data_pipelines.sources.bad_records import SkippingSource
from data_pipelines.sources.loader import evaluation_batches
from data_pipelines.sources.records import RecordSource
from data_pipelines.sources.windows import Windows
from ssl_jax.devices.mesh import REPLICATED, SHARDED, pmap_over_mesh
from ssl_jax.metrics import Accumulators, PerExample, reduce_over_devices
from ssl_jax.objectives import Classification
from ssl_jax.runs.parts import Run
from ssl_jax.training.loop import prefetch_to_devices
from ssl_jax.training.shutdown import ShutdownSignal, Stopped

__all__ = ["FeatureSource", "extract_features", "make_extraction_step", "precompute_features"]


@dataclass(frozen=True)
class FeatureSource:
    """A source of feature records in memory.

    Attributes:
        records: `features` (N, D) float32, `index` (N,) and, if the dataset has labels, `label`
            (N,) or `labels` (N, classes).
    """

    records: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.records["index"])

    def __getitem__(self, position: int) -> dict[str, np.ndarray]:
        return {name: values[position] for name, values in self.records.items()}


def precompute_features(run: Run, variables: Any, stop: ShutdownSignal | None = None) -> Run:
    """Replace the images of a run by features if its frozen backbone always sees the same images.

    Args:
        run: The run; it is returned unchanged if its features can't be precomputed.
        variables: Variables of the whole model, replicated over the run's mesh.
        stop: The shutdown signal, polled after each batch.

    Returns:
        The run with `FeatureSource`s as sources.

    Raises:
        Stopped: If a signal requested a shutdown.
    """
    objective = run.objective
    if not (isinstance(objective, Classification) and objective.precomputable):
        return run
    step = make_extraction_step(objective.extract_features, run.mesh)
    source, evaluation = (
        source and extract_features(step, variables, source, run.mesh, run.config.batch_size, stop)
        for source in (run.source, run.evaluation_source)
    )
    if isinstance(run.source, SkippingSource):
        source = replace_bad_examples(source, run.source.source.rows)
    return replace(run, source=source, evaluation_source=evaluation)


def replace_bad_examples(features: FeatureSource, rows: np.ndarray) -> FeatureSource:
    """Return features for all rows of a split, with bad examples replaced as in `SkippingSource`.

    Training then sees the same examples as if the features were computed in each step.

    Args:
        features: Features of the good examples, in the order of `rows`.
        rows: The rows (N,) of all examples in the split.
    """
    is_good = np.isin(rows, features.records["index"])
    good_positions = np.flatnonzero(is_good)
    # A bad example is replaced by the next good one, and after the last by the first.
    replacements = np.searchsorted(good_positions, np.arange(len(rows))) % len(good_positions)
    records = {name: values[replacements] for name, values in features.records.items()}
    return FeatureSource({**records, "index": rows.astype(features.records["index"].dtype)})


def make_extraction_step(
    compute_features: Callable[[Any, Any], jax.Array], mesh: Mesh
) -> Callable[[Any, Any], Accumulators]:
    """Compile the step that computes the features of a batch.

    Args:
        compute_features: Maps the variables and one device's batch to features (B, D).
        mesh: The devices.

    Returns:
        A function from the variables and a batch sharded over `data` to `rows`, a `PerExample` of
        features, indices and targets.
    """

    def step(variables: Any, batch: Any) -> Accumulators:
        rows = {"features": compute_features(variables, batch), "valid": batch["valid"]}
        rows |= {name: batch[name] for name in ("index", "label", "labels") if name in batch}
        return reduce_over_devices({"rows": PerExample(rows)})

    return pmap_over_mesh(step, mesh, (REPLICATED, SHARDED), REPLICATED)


def extract_features(
    step: Callable[[Any, Any], Accumulators],
    variables: Any,
    source: RecordSource | Windows | SkippingSource,
    mesh: Mesh,
    batch_size: int,
    stop: ShutdownSignal | None = None,
) -> FeatureSource:
    """Compute the features of every example in `source` once, on all devices.

    Args:
        step: The step from `make_extraction_step`.
        variables: Variables of the whole model, replicated over `mesh`.
        source: The examples; their order is kept, and bad examples that are skipped are dropped.
        mesh: The devices.
        batch_size: Examples per batch over all devices.
        stop: The shutdown signal, polled after each batch.

    Raises:
        Stopped: If a signal requested a shutdown.
    """
    batches = evaluation_batches(source, batch_size, jax.process_index(), jax.process_count())
    parts = []
    for batch in prefetch_to_devices(batches, mesh):
        parts.append(jax.device_get(step(variables, batch)["rows"]))
        if stop is not None and stop.poll():
            raise Stopped
    rows = {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values}
    valid = rows.pop("valid")
    return FeatureSource({name: values[valid] for name, values in rows.items()})
