"""Amazon Employee Access: the paper's encoding, the loader, the gradient, and partitions that keep their rows."""

from __future__ import annotations

import os

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from electioncode.lab.training import amazon, partitions  # noqa: E402


def test_encoding_by_hand():
    values = np.array([[7, 1], [7, 1], [7, 2], [8, 2], [8, 1], [9, 3], [9, 3], [4, 5]])
    rows, d = amazon.encode(values, degree=2)
    # Column 0: 7 three times; 8 and 9 twice; 4 once. Column 1: 1 three times; 2 and 3 twice; 5 once.
    # Pairs: (7, 1) and (9, 3) twice; all others once.
    assert d == 3 + 3 + 2
    assert rows.shape == (8, 3)
    same = [[0, 0, 0, 1, 1, 1, 1, 2], [0, 0, 1, 1, 0, 1, 1, 2], [0, 0, 1, 1, 1, 0, 0, 1]]
    for column, groups in zip(rows.T, same, strict=True):
        expected = np.equal.outer(groups, groups)
        np.testing.assert_array_equal(np.equal.outer(column, column), expected)
    assert sorted(set(rows.ravel())) == list(range(d))
    bounds = [(0, 3), (3, 6), (6, 8)]
    assert all(low <= column.min() and column.max() < high for column, (low, high) in zip(rows.T, bounds, strict=True))


def test_encoding_knows_only_which_values_are_equal(rng):
    values = rng.integers(0, 9, (400, 5))
    renamed = np.column_stack([rng.permutation(1000)[column] - 500 for column in values.T])
    rows, d = amazon.encode(values)
    others, same_d = amazon.encode(renamed)
    assert d == same_d
    assert rows.shape == (400, 5 + 10 + 10)
    for mine, theirs in zip(rows.T, others.T, strict=True):
        np.testing.assert_array_equal(np.equal.outer(mine, mine), np.equal.outer(theirs, theirs))


@pytest.mark.skipif("ELECTIONCODE_AMAZON" not in os.environ, reason="set ELECTIONCODE_AMAZON to Kaggle's train.csv")
def test_the_real_file_has_263500_coordinates():
    labels, values = amazon.read(os.environ["ELECTIONCODE_AMAZON"])
    assert values.shape == (amazon.NUM_ROWS, amazon.NUM_COLUMNS)
    assert labels.mean() == pytest.approx(0.9421, abs=5e-5)
    sizes = [amazon.encode(values, degree)[1] for degree in (1, 2, 3)]
    assert sizes == [7832, 7832 + 67095, amazon.NUM_COORDINATES]
    data = amazon.load(os.environ["ELECTIONCODE_AMAZON"], 26_325)
    assert data.rows.shape == (26_325, 129)
    assert len(data.test_rows) == 6_444


def test_files_that_are_others_are_refused(tmp_path):
    file = tmp_path / "test.csv"
    file.write_text("id,RESOURCE\n1,2\n")
    with pytest.raises(ValueError, match=r"ACTION and 9 columns, got 2; .* not test\.csv"):
        amazon.read(file)
    file.write_text("ACTION" + ",x" * 9 + "\n2" + ",1" * 9 + "\n")
    with pytest.raises(ValueError, match=r"must be 0 or 1, got \[2\]"):
        amazon.read(file)
    file.write_text("ACTION\nyes\n")
    with pytest.raises(ValueError, match="table of integers under a header"):
        amazon.read(file)


def test_openml(monkeypatch, rng):
    fetched = pytest.importorskip("sklearn.datasets")
    table = rng.integers(0, 50, (amazon.NUM_ROWS, 9)).astype(float)
    labels = rng.integers(0, 2, amazon.NUM_ROWS).astype(str)
    asked = {}

    def fetch(**arguments):
        asked.update(arguments)
        return table, labels

    monkeypatch.setattr(fetched, "fetch_openml", fetch)
    got_labels, got = amazon.read()
    assert asked["data_id"] == 4135
    np.testing.assert_array_equal(got, table)
    np.testing.assert_array_equal(got_labels, labels.astype(int))

    def fail(**arguments):
        raise OSError("no network")

    monkeypatch.setattr(fetched, "fetch_openml", fail)
    with pytest.raises(ValueError, match=r"could not be fetched \(no network\); download train\.csv"):
        amazon.read()


def access_data(rng, count=60, held_out=20):
    rows, d = amazon.encode(rng.integers(0, 4, (count + held_out, 3)))
    labels = rng.integers(0, 2, count + held_out)
    return amazon.make(rows, labels, d, slice(0, count), slice(count, None))


def test_gradient_is_that_of_the_logistic_loss(rng):
    data = access_data(rng)
    model = data.build_model(None)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(rng.normal(size=data.d)))
    for indices in (np.arange(7), np.arange(30, 41)):  # the second must forget the first
        data.backward(model, indices, 0, 0, 0)
        weight = model.weight.detach().double().requires_grad_()
        odds = weight[data.rows[indices]].sum(dim=1)
        torch.nn.functional.binary_cross_entropy_with_logits(odds, data.labels[indices].double()).backward()
        torch.testing.assert_close(model.weight.grad.double(), weight.grad, rtol=1e-5, atol=1e-6)


def test_auc_is_the_share_of_pairs_in_order(rng):
    pytest.importorskip("sklearn")
    data = access_data(rng)
    model = data.build_model(None)
    assert data.evaluate(model) == 0.5
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(rng.normal(size=data.d)))
    scores, positive = model(data.test_rows).detach().numpy(), data.test_labels.numpy() == 1
    order = np.sign(scores[positive][:, None] - scores[~positive][None, :])
    assert data.evaluate(model) == pytest.approx((order.mean() + 1) / 2)


@pytest.mark.parametrize(("samples", "batch", "k"), [(60, 12, 3), (26_325, 225, 15), (28_665, 245, 3), (101, 10, 4)])
def test_fixed_partitions_keep_their_samples_and_go_through_them_in_order(samples, batch, k):
    made = partitions.make("fixed", samples, batch, k, 0)
    steps = made.steps_per_epoch
    assert steps == samples // batch
    held = [np.concatenate([made.indices(step, j) for step in range(steps)]) for j in range(k)]
    np.testing.assert_array_equal(np.concatenate(held), np.arange(steps * batch))
    for j in range(k):
        np.testing.assert_array_equal(made.indices(0, j), made.indices(steps, j))  # the next epoch
        sizes = {len(made.indices(step, j)) for step in range(steps)}
        assert sizes <= {batch // k, -(-batch // k)}
    with pytest.raises(ValueError, match="partitions must be one of"):
        partitions.make("odd", samples, batch, k, 0)
