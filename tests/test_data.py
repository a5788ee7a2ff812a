"""What is random in a partition's gradient depends on (seed, step, partition) alone."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import electioncode as ec
from electioncode.data import Batches, PartitionSampler, augmentation_rng, partition_rng

torch = pytest.importorskip("torch")

# One process, as a worker would be: other work first, then its partitions in its own order.
WORKER = """
import hashlib, json, sys
import numpy as np, torch
from electioncode.data import Batches
from electioncode.lab.training import datasets, models

noise, jobs = json.loads(sys.argv[1])
torch.set_num_threads(1)
torch.manual_seed(noise)
np.random.seed(noise)
torch.rand(noise), np.random.rand(noise)
results = []
for order, dropout, shift in jobs:
    data = datasets.digits()
    data.shift = shift
    model = models.build("cnn", data.train.shape, data.num_classes, seed=3, dropout=dropout)
    batches = Batches(len(data.train), 72, 9, seed=3)
    digests = {}
    for step, partition in order:
        torch.rand(partition + 1)
        data.backward(model, batches.indices(step, partition), batches.seed, step, partition)
        flat = torch.cat([p.grad.flatten() for p in model.parameters()]).numpy()
        digests[f"{step} {partition}"] = hashlib.sha256(flat.tobytes()).hexdigest()
    results.append(digests)
print(json.dumps(results))
"""


def gradients(noise, *jobs):
    """Return digests of gradients from a process of their own; a job is ([(step, partition)], dropout, shift)."""
    argument = json.dumps([noise, jobs])
    run = subprocess.run(
        [sys.executable, "-c", WORKER, argument], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_replicas_compute_the_same_gradients():
    (first,) = gradients(1, ([(0, 1), (0, 2), (0, 5), (20, 2), (20, 5)], 0.5, 1))
    second, undropped, unmoved = gradients(
        77, ([(20, 5), (20, 8), (0, 5), (0, 2), (0, 0)], 0.5, 1), ([(0, 2)], 0.0, 1), ([(0, 2)], 0.5, 0)
    )
    shared = first.keys() & second.keys()
    assert shared == {"0 2", "0 5", "20 5"}
    assert {key: first[key] for key in shared} == {key: second[key] for key in shared}
    everything = first | second
    assert len(set(everything.values())) == len(everything)  # no two partitions or steps share a gradient
    assert undropped["0 2"] != first["0 2"] != unmoved["0 2"]  # dropout and augmentation were on


@given(st.integers(1, 300), st.data())
@settings(max_examples=60, deadline=None)
def test_an_epoch_is_a_permutation_cut_into_batches_and_slices(num_samples, draw):
    batch_size = draw.draw(st.integers(1, num_samples))
    k = draw.draw(st.integers(1, batch_size))
    batches = Batches(num_samples, batch_size, k, seed=draw.draw(st.integers(0, 2**64 - 1)))
    seen = []
    for step in range(batches.steps_per_epoch):
        slices = [batches.indices(step, j) for j in range(k)]
        sizes = [int((j + 1) * batch_size / k) - int(j * batch_size / k) for j in range(k)]
        assert [len(s) for s in slices] == sizes
        assert min(sizes) >= 1
        seen += np.concatenate(slices).tolist()
    assert len(seen) == num_samples // batch_size * batch_size
    assert len(set(seen)) == len(seen)
    assert sorted(batches.permutation(0)) == list(range(num_samples))


def test_the_partitions_of_a_step_share_one_global_batch_whatever_their_number():
    for step in (0, 3, 12):
        batches = [Batches(100, 15, k, seed=4) for k in (1, 3, 5, 15)]
        whole = [np.concatenate([b.indices(step, j) for j in range(b.num_partitions)]) for b in batches]
        for other in whole[1:]:
            np.testing.assert_array_equal(other, whole[0])


def test_epochs_and_seeds_shuffle_differently():
    orders = [Batches(50, 10, 5, seed=s).permutation(e).tolist() for s in (0, 1) for e in (0, 1)]
    assert len({tuple(o) for o in orders}) == 4
    batches = Batches(50, 10, 5)
    first = batches.indices(0, 2).tolist()
    assert batches.indices(5, 2).tolist() != first  # the next epoch
    assert batches.indices(0, 2).tolist() == first  # and back


def test_streams_are_those_of_the_documentation():
    raw = np.random.Philox(key=[5, 6]).random_raw(40)
    np.testing.assert_array_equal(Batches(40, 8, 2, seed=5).permutation(6), np.argsort(raw, kind="stable"))
    expected = np.random.Generator(np.random.Philox(key=[5, 6], counter=[0, 0, 7, 1])).integers(0, 99, 8)
    np.testing.assert_array_equal(augmentation_rng(5, 6, 7).integers(0, 99, 8), expected)


def test_different_keys_give_different_streams():
    keys = [(a, b, c) for a in (0, 1, 2**32, 2**64 - 1) for b in (0, 1, 2**32) for c in (0, 1, 2**32)]
    words = {tuple(augmentation_rng(*key).bit_generator.random_raw(2).tolist()) for key in keys}
    masks = set()
    for key in keys:
        with partition_rng(*key):
            masks.add(tuple(torch.rand(4).tolist()))
    assert len(words) == len(masks) == len(keys)


def test_dropout_is_seeded_and_the_generator_restored():
    def mask(key):
        with partition_rng(*key):
            return torch.nn.functional.dropout(torch.ones(256), 0.5)

    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = mask((0, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(mask((0, 1, 2)), first)
    assert not torch.equal(mask((0, 2, 1)), first)
    with pytest.raises(RuntimeError, match="inside"), partition_rng(0, 0, 0):
        raise RuntimeError("inside")
    assert torch.initial_seed() == 2


@given(st.integers(1, 200), st.integers(1, 8), st.integers(1, 3), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_partition_sampler_is_a_distributed_sampler_of_partitions(total, k, copies, shuffle, drop_last):
    if drop_last and total < k:
        return
    code = ec.repetition(k * copies, k)
    options = {"shuffle": shuffle, "seed": 5, "drop_last": drop_last}
    samplers = [PartitionSampler(range(total), code, rank, **options) for rank in range(code.num_workers)]
    lists = [list(s) for s in samplers]
    assert [len(s) for s in samplers] == [len(x) for x in lists]
    for rank, indices in enumerate(lists):
        twins = [r for r in range(code.num_workers) if code.partitions(r) == code.partitions(rank)]
        assert len(twins) == copies
        assert all(lists[t] == indices for t in twins)
    for j in range(k):
        reference = torch.utils.data.DistributedSampler(range(total), k, j, shuffle=False, drop_last=drop_last)
        own = next(x for x, s in zip(lists, samplers, strict=True) if s.partition == j)
        assert len(own) == len(reference)
        if not shuffle:
            assert own == list(reference)
    everything = [i for j in range(k) for i in lists[next(r for r in range(len(lists)) if samplers[r].partition == j)]]
    assert len(set(everything)) == (total // k * k if drop_last else total)


def test_a_partition_sampler_shuffles_by_epoch_and_resumes_in_it():
    sampler = PartitionSampler(range(103), ec.uncoded(5), 3, seed=1)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first and len(second) == len(first) == 21
    sampler.set_epoch(1, start=8)
    assert (list(sampler), len(sampler)) == (second[8:], 13)
    sampler.set_epoch(0)
    assert list(sampler) == first
    assert list(PartitionSampler(range(103), ec.uncoded(5), 3, seed=2)) != first


def test_several_partitions_a_rank_have_a_sampler_each():
    code = ec.cyclic(4, 2)
    samplers = [PartitionSampler(range(40), code, 1, p) for p in code.partitions(1)]
    assert not set(samplers[0]) & set(samplers[1])
    with pytest.raises(ValueError, match=r"partition must be one that rank 1 holds, \(.*\), got None"):
        PartitionSampler(range(40), code, 1)
    with pytest.raises(ValueError, match=r"rank must be in 0\.\.3, got 4"):
        PartitionSampler(range(40), code, 4, 0)
    with pytest.raises(ValueError, match=r"rank must be given where torch\.distributed is not initialized"):
        PartitionSampler(range(40), code, partition=1)
    with pytest.raises(ValueError, match=r"start must be in 0\.\.10, got 11"):
        samplers[0].set_epoch(0, start=11)
    with pytest.raises(ValueError, match="at least 4 samples, got 3"):
        PartitionSampler(range(3), code, 1, 1, drop_last=True)


class Noisy(torch.utils.data.Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, index):
        return index, torch.rand(())


def test_the_transforms_of_a_loader_agree_at_the_ranks_that_hold_a_partition():
    def epochs(rank, start_at=0):
        sampler = PartitionSampler(Noisy(), ec.repetition(4, 2), rank)
        loader = torch.utils.data.DataLoader(Noisy(), 3, sampler=sampler, generator=sampler.generator, num_workers=1)
        drawn = []
        for epoch in range(start_at, 2):
            torch.rand(rank + 1)  # what the ranks do besides
            sampler.set_epoch(epoch)
            drawn.append([(i.tolist(), noise.tolist()) for i, noise in loader])
        return drawn

    holders = [r for r in range(4) if ec.repetition(4, 2).partitions(r) == ec.repetition(4, 2).partitions(0)]
    first = epochs(holders[0])
    assert epochs(holders[1]) == first
    assert epochs(holders[0], 1) == first[1:]
    stranger = next(r for r in range(4) if r not in holders)
    assert {x for _, noise in epochs(stranger)[0] for x in noise}.isdisjoint(x for _, noise in first[0] for x in noise)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Batches(10, 11, 1), r"batch_size \(at most num_samples\) must be in 1\.\.10, got 11"),
        (lambda: Batches(10, 0, 1), r"batch_size \(at most num_samples\) must be in 1\.\.10, got 0"),
        (lambda: Batches(10, 4, 5), r"num_partitions \(at most batch_size\) must be in 1\.\.4, got 5"),
        (lambda: Batches(10, 4, 2, seed=-1), r"seed must be in 0\.\.18446744073709551615, got -1"),
        (lambda: Batches(10, 4, 2).indices(0, 2), r"partition must be in 0\.\.1, got 2"),
        (lambda: augmentation_rng(0, 2**64, 0), r"step must be in 0\.\."),
    ],
)
def test_errors_name_the_argument_and_its_limits(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_keys_must_be_integers():
    with pytest.raises(TypeError, match=r"partition must be an integer in 0\.\..*, got float 1\.0"):
        augmentation_rng(0, 0, 1.0)
