"""Settings and data of a figure: in full as in the paper, or small for a few minutes on a CPU."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from electioncode.lab.figures.figures import POLICIES, Curve, Figure
from electioncode.lab.training import amazon, datasets
from electioncode.lab.training.runner import Settings, Task

SCALES = ("full", "small")


@dataclass(frozen=True)
class Options:
    """What the command line decides; every value but the first four departs from the figure where it is given.

    Attributes:
        data: a path; None: fetched, where that is possible.
        scale: of `SCALES`.
        device: of the model, as torch names it.
        threads: of each process.
        momentum_at: "worker" or "server".
        epochs, max_steps, train_samples, test_samples, model, lr: of the run.
    """

    data: str | None = None
    scale: str = "full"
    device: str = "cpu"
    threads: int = 1
    momentum_at: str = "worker"
    epochs: int | None = None
    max_steps: int | None = None
    train_samples: int | None = None
    test_samples: int | None = None
    model: str | None = None
    lr: float | None = None


@dataclass(frozen=True)
class Scale:
    """Numbers of a task at a scale; None: everything there is, or as the figure says."""

    model: str
    epochs: int
    lr: float
    weight_decay: float
    evaluations: int
    train_samples: int | None = None
    test_samples: int | None = None
    halved: bool = False
    largest_partition: int | None = None


_SCALES = {
    ("amazon", "full"): Scale("logistic", 8, 1e-3, 0.0, 3),
    ("amazon", "small"): Scale("logistic", 2, 1e-3, 0.0, 3),
    ("cifar10", "full"): Scale("resnet18", 100, 1e-4, 1e-4, 1),
    ("cifar10", "small"): Scale("resnet18-8", 8, 2e-3, 1e-4, 1, 6000, 2000, True, 16),
}


def scale_of(figure: Figure, options: Options) -> Scale:
    return _SCALES[figure.task, options.scale]


def settings(figure: Figure, curve: Curve, seed: int, options: Options) -> Settings:
    """What one run of a curve is trained with."""
    scale = scale_of(figure, options)
    zero, tie = POLICIES[curve.policy]
    epochs = scale.epochs if options.epochs is None else options.epochs
    whole = _SCALES[figure.task, "full"].epochs
    batch = figure.batch_size
    if scale.largest_partition is not None:
        batch = min(batch, scale.largest_partition * figure.num_workers)
    milestones = figure.milestones
    if figure.task == "cifar10":  # at the same parts of a shorter run
        milestones = tuple(round(m * epochs / whole) for m in milestones)
    return Settings(
        model=options.model or scale.model,
        epochs=epochs,
        batch_size=batch,
        lr=options.lr or scale.lr,
        weight_decay=scale.weight_decay,
        milestones=milestones,
        tie=tie,
        zero=zero,
        seed=seed,
        dropout=0.0,
        max_steps=options.max_steps,
        partitions=curve.partitions,
        momentum_at=options.momentum_at,
        evaluations=scale.evaluations,
        device=options.device,
    )


def task(figure: Figure, options: Options) -> Task:
    """The data of a figure, read once a process."""
    scale = scale_of(figure, options)
    train = scale.train_samples if options.train_samples is None else options.train_samples
    test = scale.test_samples if options.test_samples is None else options.test_samples
    if figure.task == "amazon":
        return _amazon(options.data, figure.train_rows if train is None else train, test)
    if options.data is None:
        raise ValueError(
            f"{figure.name}: needs CIFAR-10: --data with the folder of its pickled or binary batches "
            "(https://www.cs.toronto.edu/~kriz/cifar.html), or with train/<class>/* and test/<class>/*"
        )
    return _cifar(options.data, train, test, scale.halved)


@functools.lru_cache(maxsize=2)
def _amazon(path: str | None, train_rows: int, test_rows: int | None) -> Task:
    return amazon.load(path, train_rows, test_rows)


@functools.lru_cache(maxsize=2)
def _cifar(path: str, train: int | None, test: int | None, halved: bool) -> Task:
    data = datasets.load(path, train, test)
    return datasets.halved(data) if halved else data


def record(figure: Figure, options: Options, trained: Task, transport: str) -> dict[str, Any]:
    """The settings that all runs of a figure share, for its results; equal records may be mixed."""
    common = settings(figure, figure.curves[0], 0, options)
    names = ("model", "epochs", "batch_size", "lr", "momentum", "weight_decay", "milestones", "max_steps")
    return {
        "scale": options.scale,
        "num_workers": figure.num_workers,
        "num_byzantine": figure.num_byzantine,
        "train_samples": len(trained),
        "metric": trained.metric,
        "transport": transport,
        "momentum_at": options.momentum_at,
        "device": options.device.partition(":")[0],
        **{name: getattr(common, name) for name in names},
    }
