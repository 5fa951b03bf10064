import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.errors import UserError
from data_pipelines.sources.loader import Loader, evaluation_batches


class Examples:
    def __init__(self, count):
        self.count = count
        self.reads = 0

    def __len__(self):
        return self.count

    def __getitem__(self, position):
        assert 0 <= position < self.count
        self.reads += 1
        return {"image": np.full((2, 2, 1), position, np.uint16), "index": np.int32(position)}


def read_indices(loader, start, steps):
    return [batch["index"].tolist() for batch in itertools.islice(loader.batches(start), steps)]


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 40), data=st.data(), seed=st.integers(0, 2**32))
def test_an_epoch_has_no_example_twice_and_drops_less_than_a_batch(count, data, seed):
    batch_size = data.draw(st.integers(1, count))
    loader = Loader(Examples(count), batch_size, seed, threads=0)
    epoch = list(itertools.chain(*read_indices(loader, 0, loader.batches_per_epoch)))
    assert len(epoch) == len(set(epoch)) > count - batch_size


@settings(max_examples=20, deadline=None)
@given(
    count=st.integers(24, 60),
    processes=st.sampled_from([1, 2, 3, 4]),
    start=st.integers(0, 10**12),
)
def test_the_batches_of_all_processes_are_the_batch_of_one_process(count, processes, start):
    expected = read_indices(Loader(Examples(count), 12, 7, threads=0), start, 3)
    local = [
        read_indices(Loader(Examples(count), 12, 7, p, processes, threads=0), start, 3)
        for p in range(processes)
    ]
    assert [list(itertools.chain(*parts)) for parts in zip(*local, strict=True)] == expected


@pytest.mark.parametrize("threads", [0, 1, 8])
def test_a_later_start_continues_the_same_run(threads):
    loader = Loader(Examples(50), 8, seed=3, threads=threads)
    assert read_indices(loader, 0, 20)[13:] == read_indices(loader, 13, 7)


def test_a_late_start_reads_no_earlier_batches():
    examples = Examples(64)
    next(Loader(examples, 8, seed=0, threads=0).batches(start=10**9))
    assert examples.reads == 8


def test_epochs_and_seeds_have_different_orders():
    first, second = (Loader(Examples(32), 32, seed, threads=0) for seed in (0, 1))
    orders = [tuple(order) for order in read_indices(first, 0, 3) + read_indices(second, 0, 3)]
    assert len(set(orders)) == 6


def test_batches_are_stacked_arrays_of_the_local_size():
    batch = next(Loader(Examples(9), 8, 0, process_index=1, process_count=2).batches())
    assert batch["image"].shape == (4, 2, 2, 1)
    assert batch["image"].dtype == np.uint16
    assert batch["index"].dtype == np.int32
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], batch["index"])


def test_wait_time_is_measured():
    loader = Loader(Examples(8), 4, 0)
    assert loader.wait_seconds == 0
    next(loader.batches())
    assert loader.wait_seconds > 0


@pytest.mark.parametrize(
    ("batch_size", "processes", "message"),
    [(9, 1, "the split has 8 examples"), (0, 1, "at least 1"), (6, 4, "multiple of 4")],
)
def test_invalid_batch_sizes_are_errors(batch_size, processes, message):
    with pytest.raises(UserError, match=message):
        Loader(Examples(8), batch_size, 0, 0, processes)


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 30),
    local=st.integers(1, 7),
    processes=st.integers(1, 4),
    threads=st.sampled_from([0, 2]),
)
def test_evaluation_sees_every_example_exactly_once(count, local, processes, threads):
    runs = [
        list(evaluation_batches(Examples(count), local * processes, p, processes, threads))
        for p in range(processes)
    ]
    assert len({len(run) for run in runs}) == 1
    batches = [batch for run in runs for batch in run]
    assert all(batch["image"].shape == (local, 2, 2, 1) for batch in batches)
    assert all(not batch["image"][~batch["valid"]].any() for batch in batches)
    seen = np.concatenate([batch["index"][batch["valid"]] for batch in batches])
    assert sorted(seen) == list(range(count))


def test_evaluation_batches_must_be_divisible_by_the_processes():
    with pytest.raises(UserError, match="multiple of 2"):
        evaluation_batches(Examples(4), 3, 0, 2)
