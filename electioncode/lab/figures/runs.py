"""Run the curves of a figure, several at once, and make a record of each."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import torch

import electioncode
from electioncode import frame
from electioncode.core import words_for
from electioncode.lab.figures import scales
from electioncode.lab.figures.figures import Curve, Figure
from electioncode.lab.training import Contender, Result, Settings, contenders, runner
from electioncode.transport import InProcessTransport, Transport


@dataclass(frozen=True)
class Job:
    """One run: a curve with a seed.

    Attributes:
        figure: of the curve.
        curve: what runs.
        seed: of everything random.
        settings: of this run.
        data: what `scales.load` takes.
        threads: of each process.
    """

    figure: Figure
    curve: Curve
    seed: int
    settings: Settings
    data: Mapping[str, Any]
    threads: int


def jobs(
    figure: Figure,
    seeds: Sequence[int],
    shared: Settings,
    data: Mapping[str, Any],
    threads: int,
    names: Sequence[str] = (),
) -> list[Job]:
    """List the runs of a figure, or of the curves of these names: all curves with one seed, then with the next.

    Raises ValueError for a name that the figure does not have.
    """
    known = [curve.name for curve in figure.curves]
    for name in names:
        if name not in known:
            raise ValueError(f"{figure.name}: curve must be one of {', '.join(map(repr, known))}, got {name!r}")
    curves = [curve for curve in figure.curves if not names or curve.name in names]
    return [
        Job(figure, curve, seed, scales.of_curve(shared, curve, seed), data, threads)
        for seed in seeds
        for curve in curves
        if curve.varies or seed == seeds[0]
    ]


def contender_of(job: Job) -> Contender:
    """Build the contender of a run."""
    figure = job.figure
    attack = job.curve.attack or figure.attack
    n, b = figure.num_workers, figure.num_byzantine
    (contender,) = contenders.build([job.curve.scheme], n, b, attack, seed=job.seed, allow_empty=figure.allow_empty)
    return contender


def check(job: Job) -> None:
    """Raise the ValueError that the run would raise, before anything is trained."""
    runner.check(contender_of(job), scales.load(**job.data), job.settings)


def run(job: Job, transport: Transport | None = None, *, evaluate: bool = True) -> dict[str, Any]:
    """Run a job and return its record; in this process unless a transport says otherwise."""
    torch.set_num_threads(job.threads)
    electioncode.set_num_threads(job.threads)
    if torch.device(job.settings.device).type == "cuda":  # the same bits every time, in every process
        torch.use_deterministic_algorithms(True)
    contender, task = contender_of(job), scales.load(**job.data)
    with contextlib.ExitStack() as stack:
        if transport is None:
            transport = stack.enter_context(InProcessTransport(contender.code.num_workers))
        result = runner.train(contender, task, job.settings, transport, evaluate=evaluate)
    d = 64 * sum(words_for(p.numel()) for p in task.build_model(job.settings).parameters())
    kind = "in-process" if isinstance(transport, InProcessTransport) else "mpi"
    return record(job, contender, result, d, kind)


def record(job: Job, contender: Contender, result: Result, d: int, transport: str) -> dict[str, Any]:
    """Return what is kept of a run; times are in seconds."""
    code, settings = contender.code, job.settings
    loads = code.allocation.sum(axis=1)
    n = code.num_workers
    return {
        "curve": job.curve.name,
        "seed": job.seed,
        "scheme": contender.name,
        "code": code.name,
        "num_partitions": code.num_partitions,
        "redundancy": round(code.redundancy, 4),
        "max_load": code.max_load,
        "idle_workers": int((loads == 0).sum()),
        "certified_byzantine": code.num_byzantine,
        "attack": contender.attack,
        "byzantine_workers": list(contender.attackers),
        "zero": settings.zero,
        "tie": settings.tie,
        "partitions": settings.partitions,
        "history": [[round(epoch, 4), step, round(s, 2), round(value, 5)] for epoch, step, s, value in result.history],
        "seconds": round(result.seconds, 3),
        "processor_seconds": round(result.processor_seconds, 3),
        "threads": job.threads,
        "device": settings.device.partition(":")[0],
        "transport": transport,
        "phases": {phase: round(seconds, 3) for phase, seconds in result.phases.items()},
        "steps": result.steps,
        "gradients": result.gradients,
        # Through the server: one message from every worker, and the result to every worker.
        "bytes_per_step": 2 * n * frame.frame_bytes(d, 2 if settings.tie == "abstain" else 1),
        "parameters_sha256": result.parameters_sha256,
    }


def run_all(todo: Sequence[Job], processes: int) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Yield every run's record when it is done, from this process or from that many others at once."""
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
    """Yield every run's record, one after another, each over a transport of its own; every process calls this."""
    for job in todo:
        with contextlib.closing(transport(job.figure.num_workers)) as one:
            yield job, run(job, one, evaluate=evaluate)
