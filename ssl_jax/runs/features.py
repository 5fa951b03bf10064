"""Representations of a frozen backbone, computed once and then read like any other source."""

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
    """Records {features (D,) float32, label or labels, index} in memory, read like a Source."""

    records: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.records["index"])

    def __getitem__(self, position: int) -> dict[str, np.ndarray]:
        return {name: values[position] for name, values in self.records.items()}


def precompute_features(run: Run, variables: Any, stop: ShutdownSignal | None = None) -> Run:
    """`run` with features in place of images where a frozen backbone always sees the same ones.

    Any other run is returned as it is.

    Raises:
        Stopped: asked to stop while at it.
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
    """Features for all `rows` of a split, those left out replaced as `SkippingSource` replaces
    examples.

    So training sees the same as if the features were computed in each step.
    """
    good = np.isin(rows, features.records["index"])
    after = np.flatnonzero(good)  # the good position that stands in for each
    chosen = np.searchsorted(after, np.arange(len(rows))) % len(after)
    records = {name: values[chosen] for name, values in features.records.items()}
    return FeatureSource({**records, "index": rows.astype(features.records["index"].dtype)})


def make_extraction_step(
    represent: Callable[[Any, Any], jax.Array], mesh: Mesh
) -> Callable[[Any, Any], Accumulators]:
    """The compiled step: (variables, batch sharded over `data`) -> features and targets as rows.

    `represent` makes features (B, D) of variables and one device's batch.
    """

    def step(variables: Any, batch: Any) -> Accumulators:
        rows = {"features": represent(variables, batch), "valid": batch["valid"]}
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
    """Run the backbone over every example of `source` once, on all devices.

    Bad examples that are skipped are left out.

    Args:
        step: see `make_extraction_step`.
        variables: of the whole model, replicated over `mesh`.
        source: the examples, each of which comes out at its own place.
        mesh: the devices.
        batch_size: examples at a time over all devices.
        stop: raised by a signal.

    Raises:
        Stopped: asked to stop while at it.
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
