"""Runs the curves of a figure, several at once, and keeps each as a record."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import torch

import electioncode
from electioncode import frame
from electioncode.core import words_for
from electioncode.lab.figures import scales
from electioncode.lab.figures.figures import Curve, Figure
from electioncode.lab.figures.scales import Options
from electioncode.lab.training import runner, schemes
from electioncode.lab.training.runner import Result, Settings
from electioncode.lab.training.schemes import Scheme
from electioncode.transport import InProcessTransport, Transport


@dataclass(frozen=True)
class Job:
    """One run: a curve with a seed."""

    figure: Figure
    curve: Curve
    seed: int
    options: Options


def jobs(figure: Figure, seeds: Sequence[int], options: Options, names: Sequence[str] = ()) -> list[Job]:
    """All runs of a figure, or of the curves of these names; all curves with one seed, then with the next.

    Raises ValueError for a name that the figure does not have.
    """
    known = [curve.name for curve in figure.curves]
    for name in names:
        if name not in known:
            raise ValueError(f"{figure.name}: curve must be one of {', '.join(map(repr, known))}, got {name!r}")
    curves = [curve for curve in figure.curves if not names or curve.name in names]
    return [Job(figure, curve, seed, options) for seed in seeds for curve in curves if curve.varies or seed == seeds[0]]


def scheme_of(job: Job) -> Scheme:
    figure = job.figure
    attack = job.curve.attack or figure.attack
    n, b = figure.num_workers, figure.num_byzantine
    (scheme,) = schemes.build([job.curve.scheme], n, b, attack, seed=job.seed, allow_empty=figure.allow_empty)
    return scheme


def check(job: Job) -> None:
    """Raises the ValueError of what could not be run, before anything is."""
    settings = scales.settings(job.figure, job.curve, job.seed, job.options)
    runner.check(scheme_of(job), scales.task(job.figure, job.options), settings)


def run(job: Job, transport: Transport | None = None, *, evaluate: bool = True) -> dict[str, Any]:
    """One run, as its record; in this process unless a transport says otherwise."""
    _prepare_process(job.options)
    scheme = scheme_of(job)
    task = scales.task(job.figure, job.options)
    settings = scales.settings(job.figure, job.curve, job.seed, job.options)
    with contextlib.ExitStack() as stack:
        if transport is None:
            transport = stack.enter_context(InProcessTransport(scheme.code.num_workers))
        result = runner.train(scheme, task, settings, transport, evaluate=evaluate)
    d = 64 * sum(words_for(p.numel()) for p in task.build_model(settings).parameters())
    kind = "in-process" if isinstance(transport, InProcessTransport) else "mpi"
    return record(job, scheme, settings, result, d, kind)


def record(job: Job, scheme: Scheme, settings: Settings, result: Result, d: int, transport: str) -> dict[str, Any]:
    """What is kept of a run; times are in seconds."""
    code = scheme.code
    loads = code.allocation.sum(axis=1)
    n = code.num_workers
    return {
        "curve": job.curve.name,
        "seed": job.seed,
        "scheme": scheme.name,
        "code": code.name,
        "num_partitions": code.num_partitions,
        "redundancy": round(code.redundancy, 4),
        "max_load": code.max_load,
        "idle_workers": int((loads == 0).sum()),
        "certified_byzantine": code.num_byzantine,
        "attack": scheme.attack,
        "byzantine_workers": list(scheme.attackers),
        "zero": settings.zero,
        "tie": settings.tie,
        "partitions": settings.partitions,
        "history": [[round(epoch, 4), step, round(s, 2), round(value, 5)] for epoch, step, s, value in result.history],
        "seconds": round(result.seconds, 3),
        "processor_seconds": round(result.processor_seconds, 3),
        "threads": job.options.threads,
        "device": settings.device.partition(":")[0],
        "transport": transport,
        "phases": {phase: round(seconds, 3) for phase, seconds in result.phases.items()},
        "steps": result.steps,
        "gradients": result.gradients,
        # Through the server: a message from every worker and the result to every worker.
        "bytes_per_step": 2 * n * frame.frame_bytes(d, 2 if settings.tie == "abstain" else 1),
        "parameters_sha256": result.parameters_sha256,
    }


def run_all(todo: Sequence[Job], processes: int) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Every run's record as it comes, from this process or from that many others at once."""
    if processes == 1:
        for job in todo:
            yield job, run(job)
        return
    # Forked processes would share torch's thread pools with this one.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        futures = {pool.submit(run, job): job for job in todo}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def run_over(
    todo: Sequence[Job], transport: Callable[[int], Transport], *, evaluate: bool
) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Every run's record, one after another over transports of that many workers: every process calls this."""
    for job in todo:
        with contextlib.closing(transport(job.figure.num_workers)) as one:
            yield job, run(job, one, evaluate=evaluate)


def _prepare_process(options: Options) -> None:
    torch.set_num_threads(options.threads)
    electioncode.set_num_threads(options.threads)
    if torch.device(options.device).type == "cuda":  # the same bits every time, in this process as in the first
        torch.use_deterministic_algorithms(True)
