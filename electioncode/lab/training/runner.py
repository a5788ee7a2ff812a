"""Train one contender over any transport: the loop that a user would write, with a clock."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from electioncode.data import Batches
from electioncode.election import Election
from electioncode.lab.training import partitions
from electioncode.lab.training.contenders import Contender
from electioncode.lab.training.server_momentum import ServerMomentum
from electioncode.optim import Signum
from electioncode.transport import Transport

MOMENTUM_AT = ("worker", "server")


class Task(Protocol):
    """What is trained and tested; the same at every process.

    Attributes:
        metric: name of what `evaluate` returns, for tables; larger is better.
    """

    metric: str

    def __len__(self) -> int:
        """Return the number of training samples."""
        ...

    def build_model(self, settings: Any) -> nn.Module: ...

    def backward(self, model: nn.Module, indices: NDArray[np.int64], seed: int, step: int, partition: int) -> None:
        """Leave the gradient of the mean loss of these samples in ``.grad``: the same bits wherever it is computed."""
        ...

    def evaluate(self, model: nn.Module) -> float: ...


@dataclass(frozen=True)
class Settings:
    """What all contenders of a run have in common.

    Attributes:
        model: for `models.build`.
        epochs: passes over the training samples.
        batch_size: samples per step, over all partitions.
        lr: of :class:`electioncode.Signum`.
        momentum: of Signum.
        weight_decay: of Signum.
        milestones: the learning rate falls to a tenth at each of these epochs (counted from 0).
        tie: policy of :class:`electioncode.Election`.
        zero: policy of the election.
        seed: of everything random: parameters, batches, augmentation, dropout, ties.
        dropout: probability.
        max_steps: end each epoch after this many steps; None: no limit.
        partitions: "drawn" anew every epoch, or "fixed", see `partitions`.
        momentum_at: "worker", as in the paper, or "server", see `ServerMomentum`.
        evaluations: tests per epoch, at its end and evenly before.
        device: of the model, as torch names it.
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
    partitions: str = "drawn"
    momentum_at: str = "worker"
    evaluations: int = 1
    device: str = "cpu"


PHASES = ("gradient", "cast", "vote", "evaluation")


@dataclass
class Result:
    """What one process saw of a training run.

    Attributes:
        history: (epochs, steps, seconds so far, the task's metric), from 0 epochs on; empty if not evaluated.
        seconds: wall-clock time of the training steps, without the evaluations of this process.
        processor_seconds: CPU time of this process, unaffected by other load.
        phases: wall-clock seconds of "gradient", "cast" (momentum and packing), "vote" (local and global majority, and
            update) and "evaluation".
        gradients: number of partition gradients that this process computed.
        steps: optimizer steps.
        bytes_sent: payload bytes sent by the workers of this process.
        parameters_sha256: of the parameters at the end, see `digest`.
    """

    history: list[tuple[float, int, float, float]] = field(default_factory=list)
    seconds: float = 0.0
    processor_seconds: float = 0.0
    phases: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    gradients: int = 0
    steps: int = 0
    bytes_sent: int = 0
    parameters_sha256: str = ""


def steps_per_epoch(task: Task, settings: Settings) -> int:
    """Return the steps of an epoch: whole global batches only, at most ``settings.max_steps``."""
    steps = Batches(len(task), settings.batch_size, 1).steps_per_epoch
    return steps if settings.max_steps is None else min(steps, settings.max_steps)


def check(contender: Contender, task: Task, settings: Settings) -> None:
    """Raise the ValueError that training would raise, before anything is trained."""
    _batches(contender, task, settings)
    if settings.momentum_at not in MOMENTUM_AT:
        raise ValueError(f"Settings: momentum_at must be one of {MOMENTUM_AT}, got {settings.momentum_at!r}")
    Signum(task.build_model(settings).parameters(), settings.lr, settings.momentum, settings.weight_decay)


def train(
    contender: Contender,
    task: Task,
    settings: Settings,
    transport: Transport,
    *,
    evaluate: bool = True,
    on_step: Callable[[Result], None] = lambda result: None,
) -> Result:
    """Train one model by the votes of one contender.

    Args:
        contender: the code and its attackers.
        task: the same in every process.
        settings: the same in every process.
        transport: used for this run alone; every process of it calls `train`. A process without workers (the
            server) loads no training sample and computes no gradient.
        evaluate: test before the first and after every epoch, in this process.
        on_step: called after every step and every evaluation.

    The gradient of a partition is computed once for all workers of this process; over MPI every worker computes its
    own. Both end with the same parameters, bit for bit, if torch uses the same number of threads and the machines are
    alike.
    """
    model = task.build_model(settings).to(settings.device)
    election = contender.election(transport, seed=settings.seed, tie=settings.tie, zero=settings.zero)
    optimizer = _optimizer(model.parameters(), settings, election)
    batches = _batches(contender, task, settings)
    epoch_steps = steps_per_epoch(task, settings)
    tests = {round(epoch_steps * i / settings.evaluations) for i in range(1, settings.evaluations + 1)}
    result = Result()
    clock = _Clock(result, settings.device)

    def record(epoch: float) -> None:
        if evaluate:
            clock.start()
            result.history.append((epoch, result.steps, result.seconds, task.evaluate(model)))
            clock.add("evaluation")
        on_step(result)

    record(0)
    for epoch in range(settings.epochs):
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * 0.1 ** sum(epoch >= first for first in settings.milestones)
        for within in range(1, epoch_steps + 1):
            clock.start()
            step = epoch * batches.steps_per_epoch + within - 1
            for partition in election.partitions:
                task.backward(model, batches.indices(step, partition), batches.seed, step, partition)
                clock.add("gradient")
                optimizer.cast(partition)
                clock.add("cast")
            optimizer.step()
            clock.add("vote")
            result.steps += 1
            result.gradients += len(election.partitions)
            if within in tests:
                record(epoch + 1 if within == epoch_steps else epoch + within / epoch_steps)
            else:
                on_step(result)
    if transport.workers:
        result.bytes_sent = transport.bytes_sent
    result.parameters_sha256 = digest(model)
    return result


def _batches(contender: Contender, task: Task, settings: Settings) -> Batches:
    k = contender.code.num_partitions
    return partitions.make(settings.partitions, len(task), settings.batch_size, k, settings.seed)


def _optimizer(parameters: Any, settings: Settings, election: Election) -> Signum:
    make = Signum if settings.momentum_at == "worker" else ServerMomentum
    return make(
        parameters, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay, election=election
    )


class _Clock:
    """Add the time since the last call to a phase, after waiting for the device, so that its work counts there."""

    def __init__(self, result: Result, device: str) -> None:
        self._result = result
        self._wait = torch.cuda.synchronize if torch.device(device).type == "cuda" else lambda: None
        self._last = self._last_processor = 0.0

    def start(self) -> None:
        self._last, self._last_processor = time.perf_counter(), time.process_time()

    def add(self, phase: str) -> None:
        self._wait()
        before, before_processor = self._last, self._last_processor
        self.start()
        self._result.phases[phase] += self._last - before
        if phase != "evaluation":
            self._result.seconds += self._last - before
            self._result.processor_seconds += self._last_processor - before_processor


def digest(model: nn.Module) -> str:
    """Return the SHA-256 of all parameters, in order, as little-endian bytes."""
    sha = hashlib.sha256()
    for parameter in model.parameters():
        array = parameter.detach().cpu().contiguous().numpy()
        sha.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return sha.hexdigest()
