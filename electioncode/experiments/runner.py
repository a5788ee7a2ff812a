"""Trains one scheme, over whichever transport: the loop that a user would write, with a clock."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional

from electioncode.data import Batches, augmentation_rng, partition_rng
from electioncode.election import Election
from electioncode.experiments import models
from electioncode.experiments.datasets import Dataset
from electioncode.experiments.schemes import Scheme
from electioncode.optim import Signum
from electioncode.transport import Transport


@dataclass(frozen=True)
class Settings:
    """What all schemes of a run have in common.

    Attributes:
        model: for :func:`electioncode.experiments.models.build`.
        epochs: passes over the training images.
        batch_size: images a step, over all partitions.
        lr, momentum, weight_decay: of :class:`electioncode.Signum`.
        milestones: the learning rate is a tenth from each of these epochs on (counted from 0).
        tie, zero: policies of :class:`electioncode.Election`.
        seed: of everything random: parameters, batches, augmentation, dropout, ties.
        dropout: probability.
        max_steps: stops an epoch after this many steps; None: no limit.
    """

    model: str
    epochs: int
    batch_size: int
    lr: float
    momentum: float = 0.9
    weight_decay: float = 0.0
    milestones: tuple[int, ...] = ()
    tie: str = "random"
    zero: str = "plus"
    seed: int = 0
    dropout: float = 0.1
    max_steps: int | None = None


@dataclass
class Result:
    """What one process saw of a training run.

    Attributes:
        history: (epoch, steps so far, seconds so far, test accuracy), from 0 epochs on; empty where not
            evaluated.
        seconds: wall-clock time of the training steps, without the evaluations of this process.
        steps: optimizer steps.
        bytes_sent: payload bytes that the workers of this process sent.
        parameters_sha256: of the parameters at the end, see `digest`.
    """

    history: list[tuple[int, int, float, float]] = field(default_factory=list)
    seconds: float = 0.0
    steps: int = 0
    bytes_sent: int = 0
    parameters_sha256: str = ""


def steps_per_epoch(data: Dataset, settings: Settings) -> int:
    """Steps of an epoch: whole global batches only, at most ``settings.max_steps``."""
    steps = Batches(len(data.train), settings.batch_size, 1).steps_per_epoch
    return steps if settings.max_steps is None else min(steps, settings.max_steps)


def check(scheme: Scheme, data: Dataset, settings: Settings) -> None:
    """Raises the ValueError of what could not be trained, before anything is."""
    Batches(len(data.train), settings.batch_size, scheme.code.num_partitions, seed=settings.seed)
    model = models.build(settings.model, data.train.shape, data.num_classes)
    Signum(model.parameters(), settings.lr, settings.momentum, settings.weight_decay)


def train(
    scheme: Scheme,
    data: Dataset,
    settings: Settings,
    transport: Transport,
    *,
    evaluate: bool = True,
    on_step: Callable[[Result], None] = lambda result: None,
) -> Result:
    """Trains one model with one scheme.

    Args:
        scheme: the code and its attackers.
        data: the same at every process.
        settings: the same at every process.
        transport: of this scheme alone; every process of it calls `train`. A process without workers (the
            server) loads no training image and computes no gradient.
        evaluate: measures the test accuracy before the first and after every epoch, in this process.
        on_step: called after every step and every evaluation.

    Where several workers live in this process, the gradient of a partition is computed once for all of them;
    over MPI every worker computes its own. Both end with the same parameters, bit for bit, if torch uses the
    same number of threads and the machines are alike.
    """
    model = models.build(
        settings.model, data.train.shape, data.num_classes, seed=settings.seed, dropout=settings.dropout
    )
    election = Election(
        scheme.code,
        transport,
        tie=settings.tie,
        zero=settings.zero,
        seed=settings.seed,
        byzantine=scheme.byzantine(settings.seed),
    )
    optimizer = Signum(
        model.parameters(),
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        election=election,
    )
    batches = Batches(len(data.train), settings.batch_size, scheme.code.num_partitions, seed=settings.seed)
    epoch_steps = steps_per_epoch(data, settings)
    result = Result()

    def record(epoch: int) -> None:
        if evaluate:
            result.history.append((epoch, result.steps, result.seconds, accuracy(model, data)))
        on_step(result)

    record(0)
    for epoch in range(settings.epochs):
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * 0.1 ** sum(epoch >= first for first in settings.milestones)
        for within in range(epoch_steps):
            began = time.perf_counter()
            step = epoch * batches.steps_per_epoch + within
            for partition in election.partitions:
                backward(model, data, batches, step, partition)
                optimizer.cast(partition)
            optimizer.step()
            result.seconds += time.perf_counter() - began
            result.steps += 1
            if within + 1 < epoch_steps:
                on_step(result)
        record(epoch + 1)
    if transport.workers:
        result.bytes_sent = transport.bytes_sent
    result.parameters_sha256 = digest(model)
    return result


def backward(model: nn.Module, data: Dataset, batches: Batches, step: int, partition: int) -> None:
    """Leaves the gradient of a partition at a step in ``.grad``: the same bits wherever it is computed."""
    seed = batches.seed
    images, labels = data.train_batch(batches.indices(step, partition), augmentation_rng(seed, step, partition))
    model.train()
    model.zero_grad()
    with partition_rng(seed, step, partition):
        loss = functional.cross_entropy(model(images), labels)
    loss.backward()


@torch.no_grad()
def accuracy(model: nn.Module, data: Dataset, batch_size: int = 500) -> float:
    """The share of test images that the model gets right, 0 to 1."""
    model.eval()
    right = 0
    for start in range(0, len(data.test), batch_size):
        images, labels = data.test_batch(start, start + batch_size)
        right += int((model(images).argmax(dim=1) == labels).sum())
    return right / len(data.test)


def digest(model: nn.Module) -> str:
    """SHA-256 of all parameters, in order, as little-endian bytes: equal exactly where every bit is."""
    sha = hashlib.sha256()
    for parameter in model.parameters():
        array = parameter.detach().contiguous().numpy()
        sha.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return sha.hexdigest()
