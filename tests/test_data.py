"""What is random in a partition's gradient depends on (seed, step, partition) alone."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electioncode.data import Batches, augmentation_rng, partition_rng

torch = pytest.importorskip("torch")

# One process, as a worker would be: other work first, then its partitions in its own order.
WORKER = """
import hashlib, json, sys
import numpy as np, torch
from electioncode.data import Batches
from electioncode.experiments import datasets, models, runner

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
        runner.backward(model, data, batches, step, partition)
        flat = torch.cat([p.grad.flatten() for p in model.parameters()]).numpy()
        digests[f"{step} {partition}"] = hashlib.sha256(flat.tobytes()).hexdigest()
    results.append(digests)
print(json.dumps(results))
"""


def gradients(noise, *jobs):
    """Digests of gradients from a process of their own; a job is ([(step, partition)], dropout, shift)."""
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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Batches(10, 11, 1), "batch_size must be from 1 to num_samples = 10, got 11"),
        (lambda: Batches(10, 0, 1), "batch_size must be from 1 to num_samples = 10, got 0"),
        (lambda: Batches(10, 4, 5), "num_partitions must be from 1 to batch_size = 4, got 5"),
        (lambda: Batches(10, 4, 2, seed=-1), "seed must be from 0 to .*, got -1"),
        (lambda: Batches(10, 4, 2).indices(0, 2), "partition must be from 0 to 1, got 2"),
        (lambda: augmentation_rng(0, 2**64, 0), "step must be from 0 to"),
    ],
)
def test_errors_name_the_argument_and_its_limits(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_keys_must_be_integers():
    with pytest.raises(TypeError, match="partition must be an integer, got float"):
        augmentation_rng(0, 0, 1.0)
