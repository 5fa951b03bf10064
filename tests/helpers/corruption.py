"""Datasets with corrupt records, as a faulty disk causes them."""

import shutil
from pathlib import Path

import numpy as np

from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset


def copy_dataset(data_dir, name, folder):
    """Copy a prepared dataset into `folder`, to corrupt it; returns its shards by split."""
    base = name.partition("/")[0]
    shutil.copytree(Path(data_dir, base), Path(folder, base))
    shards = Path(folder, name).glob("*/*.array_record-*")
    return {shard.name.partition(".")[0].rpartition("-")[2]: shard for shard in sorted(shards)}


def corrupt_records(shard, name, folder, split, positions):
    """Flip a bit in the pixels of the examples at some positions of a split.

    Args:
        shard: The shard with the examples.
        name: Name of the dataset.
        folder: Folder of the prepared datasets.
        split: The split whose examples are corrupted.
        positions: Positions of the examples in the split.

    Returns:
        The index in the shard of each corrupt record.
    """
    content = bytearray(shard.read_bytes())
    source = select_subset(open_dataset(name, folder), split).examples
    source = getattr(source, "blocks", source)
    record_indices = []
    for position in positions:
        image = source[position]["image"]
        offset = content.find(np.ascontiguousarray(image[:2]).tobytes())
        assert offset >= 0
        content[offset] ^= 0x10
        record_indices.append(int(source.order[source.rows[position]]))
    shard.write_bytes(content)
    return record_indices
