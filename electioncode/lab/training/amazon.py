"""Amazon Employee Access: nine categorical columns, encoded as the paper does, and logistic regression on them.

Every row becomes one-hot over single columns, pairs and triples: exactly 129 of d = 263,500 coordinates are 1. A row is
the list of their numbers, and a batch touches a small part of the gradient.
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
_OPENML = 4135  # number of OpenML's copy
_HOW = (
    "download train.csv of https://www.kaggle.com/c/amazon-employee-access-challenge/data and give its path "
    "(--data train.csv; .xz, .gz and .bz2 are read too)"
)


def read(path: str | Path | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return labels ``(N,)``, 0 or 1, and categories ``(N, 9)``, both int64.

    Args:
        path: Kaggle's train.csv (ACTION, then nine columns), compressed or not. None: OpenML's copy, fetched through
            scikit-learn, which keeps it for the next time.

    Raises ValueError, which says what to do, if the file is a different one or nothing can be fetched.
    """
    table = _fetch() if path is None else _read_csv(Path(path))
    labels = table[:, 0]
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"Amazon: the first column, ACTION, must be 0 or 1, got {sorted(set(labels.tolist()))[:5]}")
    return labels, table[:, 1:]


def _read_csv(path: Path) -> NDArray[np.int64]:
    if not path.is_file():
        raise ValueError(f"Amazon: {path} is not a file; {_HOW}")
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
    except Exception as error:  # of many types: no network, no such host, a changed file
        raise ValueError(f"Amazon: OpenML's copy could not be fetched ({error}); {_HOW}") from error
    # Only which values are equal matters, not how OpenML numbers the categories.
    table = np.column_stack([np.asarray(labels).astype(np.int64), np.asarray(values).astype(np.int64)])
    if table.shape != (NUM_ROWS, 1 + NUM_COLUMNS):
        raise ValueError(f"Amazon: OpenML's copy must be {NUM_ROWS} x {1 + NUM_COLUMNS}, got {table.shape}; {_HOW}")
    return table


def encode(values: NDArray[np.integer], degree: int = 3) -> tuple[NDArray[np.int32], int]:
    """Encode categories as one-hot over all combinations of up to ``degree`` columns.

    Args:
        values: ``(N, c)`` integers, categories.
        degree: 1 to c.

    Returns:
        ``(N, m)`` int32, the number of the coordinate that is 1 for each of the m combinations, and d, the number of
        coordinates. Values that occur once in all N rows share one coordinate of their combination, and so do those
        that occur twice.

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
    """Logistic regression from zero: the log-odds of label 1 are the sum of the weights of a row's coordinates."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(d))
        self.touched: torch.Tensor | None = None  # nonzero coordinates of the gradient

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the log-odds ``(b,)`` of rows ``(b, m)``, int64."""
        return self.weight[rows].sum(dim=1)


@dataclass
class AccessData:
    """Rows to train on and rows held out: a `runner.Task` tested by ROC-AUC.

    Attributes:
        name: for tables.
        rows: ``(N, m)`` int64, to train on.
        labels: ``(N,)`` float32, to train on.
        test_rows: held out.
        test_labels: held out.
        d: number of coordinates.
    """

    metric = "AUC"

    name: str
    rows: torch.Tensor
    labels: torch.Tensor
    test_rows: torch.Tensor
    test_labels: torch.Tensor
    d: int

    def __len__(self) -> int:
        """Return the number of training rows."""
        return len(self.rows)

    def build_model(self, settings: Any) -> nn.Module:
        """Make a logistic regression from zero, whatever the settings."""
        return LogisticRegression(self.d)

    @torch.no_grad()
    def backward(self, model: nn.Module, indices: NDArray[np.int64], seed: int, step: int, partition: int) -> None:
        """Leave the gradient of the mean logistic loss of these rows in ``.grad``.

        Computed by hand: autograd would go over all d coordinates several times for the few that the rows touch.
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
        """Return the area under the ROC curve on the rows held out."""
        from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]

        device = next(model.parameters()).device
        scores = model(self.test_rows.to(device)).cpu()
        return float(roc_auc_score(self.test_labels.numpy(), scores.numpy()))


def load(path: str | Path | None, train_rows: int, test_rows: int | None = None) -> AccessData:
    """Read the task: the first ``train_rows`` rows to train on, the rest (or its first ``test_rows``) held out."""
    labels, values = read(path)
    end = len(labels) if test_rows is None else train_rows + test_rows
    if not 1 <= train_rows < end <= len(labels):
        raise ValueError(f"Amazon: train_rows must be from 1 to {len(labels) - 1}, the rows but one, got {train_rows}")
    rows, d = encode(values)
    return make(rows, labels, d, slice(0, train_rows), slice(train_rows, end))


def make(
    rows: NDArray[np.int32], labels: Sequence[int] | NDArray[np.int64], d: int, train: slice, test: slice
) -> AccessData:
    """Make the task of encoded rows."""
    x, y = torch.from_numpy(rows.astype(np.int64)), torch.from_numpy(np.asarray(labels, dtype=np.float32))
    return AccessData("Amazon Employee Access", x[train], y[train], x[test], y[test], d)
