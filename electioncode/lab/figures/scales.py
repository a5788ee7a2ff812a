"""Settings and data of a figure: in full as in the paper, or small for a few minutes on a CPU."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from electioncode.lab.figures.figures import POLICIES, Curve, Figure
from electioncode.lab.training import Settings, Task, amazon, datasets

_FULL = {
    "amazon": Settings("logistic", epochs=8, batch_size=0, lr=1e-3, dropout=0.0, evaluations=3),
    "cifar10": Settings("resnet18", epochs=100, batch_size=0, lr=1e-4, weight_decay=1e-4, dropout=0.0),
}
# What the small scale changes.
_SMALL: dict[str, dict[str, Any]] = {
    "amazon": {"epochs": 2},
    "cifar10": {"model": "resnet18-8", "epochs": 8, "lr": 2e-3},
}
_SMALL_IMAGES = {"train_samples": 6000, "test_samples": 2000, "halved": True}
_SMALL_PARTITION = 16  # most images per partition and step


def settings(figure: Figure, scale: str, changes: Mapping[str, Any]) -> Settings:
    """Return the settings that all runs of a figure share.

    Args:
        figure: which.
        scale: "full" or "small".
        changes: fields of `Settings` that depart from the figure.
    """
    full = _FULL[figure.task]
    chosen = replace(full, **{**(_SMALL[figure.task] if scale == "small" else {}), **changes})
    batch_size, milestones = figure.batch_size, figure.milestones
    if figure.task == "cifar10":
        if scale == "small":
            batch_size = min(batch_size, _SMALL_PARTITION * figure.num_workers)
        milestones = tuple(round(m * chosen.epochs / full.epochs) for m in milestones)  # as early in a shorter run
    return replace(chosen, batch_size=batch_size, milestones=milestones)


def of_curve(shared: Settings, curve: Curve, seed: int) -> Settings:
    """Return the settings of one run of a curve."""
    zero, tie = POLICIES[curve.policy]
    return replace(shared, zero=zero, tie=tie, partitions=curve.partitions, seed=seed)


def source(figure: Figure, scale: str, path: str | None, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `load` takes to read a figure's data.

    Args:
        figure: which.
        scale: "full" or "small".
        path: of the data; None: fetched if possible.
        changes: "train_samples" and "test_samples", if they depart from the figure.
    """
    if figure.task == "amazon":
        return {"task": "amazon", "path": path, "train_samples": figure.train_rows, **changes}
    if path is None:
        raise ValueError(
            f"{figure.name}: needs CIFAR-10: --data with the folder of its pickled or binary batches "
            "(https://www.cs.toronto.edu/~kriz/cifar.html), or with train/<class>/* and test/<class>/*"
        )
    return {"task": "cifar10", "path": path, **(_SMALL_IMAGES if scale == "small" else {}), **changes}


@functools.lru_cache(maxsize=2)
def load(
    *,
    task: str,
    path: str | None,
    train_samples: int | None = None,
    test_samples: int | None = None,
    halved: bool = False,
) -> Task:
    """Read the data of a figure, once per process."""
    if task == "amazon":
        assert train_samples is not None
        return amazon.load(path, train_samples, test_samples)
    assert path is not None
    data = datasets.load(path, train_samples, test_samples)
    return datasets.halved(data) if halved else data


def record(figure: Figure, scale: str, shared: Settings, trained: Task, transport: str) -> dict[str, Any]:
    """Return the settings that all runs of a figure share, for its results; runs with equal records may be mixed."""
    names = (
        "model", "epochs", "batch_size", "lr", "momentum", "weight_decay", "milestones", "max_steps", "momentum_at",
    )  # fmt: skip
    return {
        "scale": scale,
        "num_workers": figure.num_workers,
        "num_byzantine": figure.num_byzantine,
        "train_samples": len(trained),
        "metric": trained.metric,
        "transport": transport,
        "device": shared.device.partition(":")[0],
        **{name: getattr(shared, name) for name in names},
    }
