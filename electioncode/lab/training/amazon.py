"""Amazon Employee Access: nine categorical columns, encoded as the paper does, and logistic regression on them.

Every row becomes one-hot over single columns, pairs and triples: of d = 263,500 coordinates exactly 129 are 1, so
a row is the list of their numbers, and a batch touches a small part of the gradient.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

NUM_ROWS, NUM_COLUMNS, NUM_COORDINATES = 32_769, 9, 263_500
_OPENML = 4135  # the number of OpenML's copy
_HOW = (
    "download train.csv of https://www.kaggle.com/c/amazon-employee-access-challenge/data and give its path "
    "(--data train.csv; .xz, .gz and .bz2 are read too)"
)


def read(path: str | Path | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Labels ``(N,)``, 0 or 1, and categories ``(N, 9)``, both int64.

    Args:
        path: Kaggle's train.csv (ACTION, then nine columns), packed or not. None: OpenML's copy, fetched through
            scikit-learn, which keeps it for the next time.

    Raises ValueError that says what to do where the file is another one or nothing can be fetched.
    """
    table = _fetch() if path is None else _read_csv(Path(path))
    labels = table[:, 0]
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"Amazon: the first column, ACTION, must be 0 or 1, got {sorted(set(labels.tolist()))[:5]}")
    return labels, table[:, 1:]


def _read_csv(path: Path) -> NDArray[np.int64]:
    if not path.is_file():
        raise ValueError(f"Amazon: {path} is no file; {_HOW}")
    try:
        table = np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.int64, ndmin=2)
    except ValueError as error:
        raise ValueError(f"Amazon: {path} must be a table of integers under a header: {error}") from error
    if table.shape[1] != 1 + NUM_COLUMNS:
        raise ValueError(
            f"Amazon: {path} must have ACTION and {NUM_COLUMNS} columns, got {table.shape[1]}; the labelled file is "
            "train.csv, not test.csv"
        )
    return table


def _fetch() -> NDArray[np.int64]:
    from sklearn.datasets import fetch_openml  # type: ignore[import-untyped]

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values, labels = fetch_openml(data_id=_OPENML, as_frame=False, parser="liac-arff", return_X_y=True)
    except Exception as error:  # of many kinds: no network, no such host, a changed file
        raise ValueError(f"Amazon: OpenML's copy could not be fetched ({error}); {_HOW}") from error
    # Only which values are equal matters, so it does not matter how OpenML numbers categories.
    table = np.column_stack([np.asarray(labels).astype(np.int64), np.asarray(values).astype(np.int64)])
    if table.shape != (NUM_ROWS, 1 + NUM_COLUMNS):
        raise ValueError(f"Amazon: OpenML's copy must be {NUM_ROWS} x {1 + NUM_COLUMNS}, got {table.shape}; {_HOW}")
    return table


def encode(values: NDArray[np.integer], degree: int = 3) -> tuple[NDArray[np.int32], int]:
    """One-hot over all combinations of up to ``degree`` columns.

    Args:
        values: ``(N, c)`` integers, categories.
        degree: 1 to c.

    Returns ``(N, m)`` int32, the numbers of the coordinates that are 1, one of each of the m combinations, and d,
    the number of coordinates. Values that occur once in all N rows share one coordinate of their combination, and
    so do those that occur twice.

    Source: Election Coding, Section 5, and the encoding of its published code.
    """
    columns = [np.unique(column, return_inverse=True)[1].reshape(-1).astype(np.int64) for column in values.T]
    rows, d = [], 0
    for size in range(1, degree + 1):
        for chosen in itertools.combinations(columns, size):
            key = chosen[0]
            for column in chosen[1:]:
                key = key * (column.max() + 1) + column
            _, inverse, counts = np.unique(key, return_inverse=True, return_counts=True)
            group = np.where(counts > 2, np.cumsum(counts > 2) + 1, counts - 1)  # once: 0, twice: 1
            used, number = np.unique(group, return_inverse=True)
            rows.append((d + number[inverse.reshape(-1)]).astype(np.int32))
            d += len(used)
    return np.column_stack(rows), d


class LogisticRegression(nn.Module):
    """One weight a coordinate, 0 at first: the log-odds of label 1 are the sum over a row's coordinates."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(d))
        self.touched: torch.Tensor | None = None  # coordinates of the gradient that are not 0

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Log-odds ``(b,)`` of rows ``(b, m)``, int64."""
        return self.weight[rows].sum(dim=1)


@dataclass
class AccessData:
    """Rows to train on and rows held out; a `electioncode.experiments.runner.Task` tested by ROC-AUC.

    Attributes:
        name: for tables.
        rows, labels: ``(N, m)`` int64 and ``(N,)`` float32, to train on.
        test_rows, test_labels: the same, held out.
        d: the number of coordinates.
    """

    metric = "AUC"

    name: str
    rows: torch.Tensor
    labels: torch.Tensor
    test_rows: torch.Tensor
    test_labels: torch.Tensor
    d: int

    def __len__(self) -> int:
        """Training rows."""
        return len(self.rows)

    def build_model(self, settings: Any) -> nn.Module:
        """Logistic regression from zero, whatever the settings."""
        return LogisticRegression(self.d)

    @torch.no_grad()
    def backward(self, model: nn.Module, indices: NDArray[np.int64], seed: int, step: int, partition: int) -> None:
        """Leaves the gradient of the mean logistic loss of these rows in ``.grad``.

        By hand, because autograd would go over all d coordinates several times for the few that rows touch.
        """
        assert isinstance(model, LogisticRegression)
        weight = model.weight
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        elif model.touched is not None:
            weight.grad.index_fill_(0, model.touched, 0.0)
        chosen = torch.tensor(indices)  # a copy: indices may be read-only
        rows = self.rows[chosen].to(weight.device)
        residuals = (torch.sigmoid(model(rows)) - self.labels[chosen].to(weight.device)) / len(indices)
        model.touched = rows.reshape(-1)
        weight.grad.index_add_(0, model.touched, residuals.repeat_interleave(rows.shape[1]))

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> float:
        """The area under the ROC curve on the rows held out."""
        from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]

        device = next(model.parameters()).device
        scores = model(self.test_rows.to(device)).cpu()
        return float(roc_auc_score(self.test_labels.numpy(), scores.numpy()))


def load(path: str | Path | None, train_rows: int, test_rows: int | None = None) -> AccessData:
    """The first ``train_rows`` rows to train on, the rest (or its first ``test_rows``) held out, as in the paper."""
    labels, values = read(path)
    end = len(labels) if test_rows is None else train_rows + test_rows
    if not 1 <= train_rows < end <= len(labels):
        raise ValueError(f"Amazon: train_rows must be from 1 to {len(labels) - 1}, the rows but one, got {train_rows}")
    rows, d = encode(values)
    return make(rows, labels, d, slice(0, train_rows), slice(train_rows, end))


def make(
    rows: NDArray[np.int32], labels: Sequence[int] | NDArray[np.int64], d: int, train: slice, test: slice
) -> AccessData:
    """The task of encoded rows."""
    x, y = torch.from_numpy(rows.astype(np.int64)), torch.from_numpy(np.asarray(labels, dtype=np.float32))
    return AccessData("Amazon Employee Access", x[train], y[train], x[test], y[test], d)
