"""Datasets with damaged records, as a bad disk leaves them."""

import shutil
from pathlib import Path

import numpy as np

from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset


def copy_of(data_dir, name, folder):
    """A prepared dataset of one's own to damage, in `folder`; its shards by split."""
    base = name.partition("/")[0]
    shutil.copytree(Path(data_dir, base), Path(folder, base))
    shards = Path(folder, name).glob("*/*.array_record-*")
    return {shard.name.partition(".")[0].rpartition("-")[2]: shard for shard in sorted(shards)}


def damage(shard, name, folder, split, positions):
    """Flip a bit within the pixels of the examples at some positions of a whole split.

    Returns:
        The record's number in the shard of each.
    """
    content = bytearray(shard.read_bytes())
    source = select_subset(open_dataset(name, folder), split).examples
    source = getattr(source, "cells", source)
    numbers = []
    for position in positions:
        image = source[position]["image"]
        at = content.find(np.ascontiguousarray(image[:2]).tobytes())
        assert at >= 0
        content[at] ^= 0x10
        numbers.append(int(source.order[source.rows[position]]))
    shard.write_bytes(content)
    return numbers
