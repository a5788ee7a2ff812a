"""``electioncode train``: train one model under one attack with several schemes, and compare them."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import electioncode
from electioncode import attacks
from electioncode.lab import plots
from electioncode.lab.errors import CommandError, check_ranges, explained
from electioncode.lab.machine import check_device
from electioncode.lab.processes import Processes, run_everywhere

if TYPE_CHECKING:
    from electioncode.lab.training import Contender, Dataset, Result, Settings


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the parser of ``electioncode``."""
    p = subparsers.add_parser(
        "train",
        help="train one model under one attack with several schemes",
        description="Trains one model under one attack with several schemes, one after another, each from "
        "the same initial parameters and with the same batches, and writes summary.json, settings.json, "
        "history.csv and accuracy.png to OUT/NAME.",
        epilog="Over MPI: mpiexec -n 10 electioncode train (9 workers and the server).",
    )
    add = p.add_argument
    add("--workers", type=int, default=9, metavar="N", help="number of workers n (default: 9)")
    add("--byzantine", type=int, default=3, metavar="B", help="how many of them lie, b (default: 3)")
    add(
        "--scheme",
        action="append",
        metavar="NAME",
        help="no-attack, uncoded, bernoulli-<E[r]>, deterministic, repetition, <scheme>-no-attack, or all; "
        "repeatable (default: all; with --code: no-attack, uncoded and that code)",
    )
    add("--code", type=Path, metavar="FILE", help="an allocation code as JSON: one more scheme, called code")
    add("--attack", choices=attacks.NAMES, default="reverse", help="what the liars send (default: reverse)")
    add("--transport", choices=("mpi", "in-process"), help="default: mpi under mpiexec, in-process otherwise")
    counts = "who counts, over MPI (default: server)"
    add("--topology", choices=("server", "allgather"), default="server", help=counts)
    add("--data", default="digits", metavar="digits|PATH", help="a folder with train/<class>/* and test/<class>/*")
    add("--train-samples", type=int, metavar="N", help="use only N of the training images")
    add("--test-samples", type=int, metavar="N", help="use only N of the test images")
    add("--model", help="mlp, cnn, resnet8, resnet14, resnet20 ... (default: cnn, or resnet8 beyond 16x16 pixels)")
    add("--epochs", type=int, metavar="N", help="default: 50 for digits, 20 for a folder")
    add(
        "--batch-size",
        type=int,
        metavar="N",
        help="images per step, over all partitions (default: 48 per worker for digits, 14 for a folder)",
    )
    add("--max-steps", type=int, metavar="N", help="end each epoch after N steps")
    add("--lr", type=float, help="default: 0.03 for digits, 0.001 for a folder")
    add(
        "--milestones",
        type=int,
        nargs="*",
        metavar="EPOCH",
        help="a tenth of the learning rate from each of these epochs on (default: three quarters of the epochs)",
    )
    add("--momentum", type=float, default=0.9, help="default: 0.9")
    add("--weight-decay", type=float, default=0.0, help="default: 0")
    add("--dropout", type=float, default=0.1, help="default: 0.1")
    add("--tie", choices=("plus", "minus", "random", "abstain"), default="random", help="default: random")
    add("--zero", choices=("plus", "minus", "random", "abstain"), default="plus", help="sign of 0 (default: plus)")
    add("--seed", type=int, default=0, help="of everything random (default: 0)")
    add("--device", default="cpu", help="of the models: cpu, cuda, cuda:1 ... (default: cpu)")
    add(
        "--threads",
        type=int,
        default=1,
        help="threads of each process; runs compare only at equal numbers (default: 1)",
    )
    add("--name", help="of the folder (default: made of data, n, b, attack)")
    add("--out", type=Path, default=Path("runs"), metavar="DIR", help="default: runs")
    add(
        "--progress",
        choices=("auto", "bar", "lines", "none"),
        default="auto",
        help="auto: a bar on a terminal, a few lines elsewhere",
    )
    return p


def run(args: argparse.Namespace) -> int:
    """Run the command; over MPI, in every process."""
    _fill_defaults(args)
    check_ranges(
        args, workers=(1, 4095), byzantine=(0, args.workers), epochs=(0, 2**20), batch_size=(1, 2**30),
        max_steps=(1, 2**30), seed=(0, 2**32 - 1), threads=(1, 1024),
    )  # fmt: skip
    return run_everywhere(
        lambda processes: _train(args, processes), args.transport, args.workers, args.topology, args.argv
    )


def _fill_defaults(args: argparse.Namespace) -> None:
    """Fill in what depends on the data. With the defaults for digits the uncoded vote breaks and coded ones hold."""
    epochs, images, lr = (50, 48, 0.03) if args.data == "digits" else (20, 14, 1e-3)
    args.epochs = epochs if args.epochs is None else args.epochs
    args.batch_size = images * args.workers if args.batch_size is None else args.batch_size
    args.lr = lr if args.lr is None else args.lr
    args.milestones = (3 * args.epochs // 4,) if args.milestones is None else tuple(args.milestones)


@dataclass
class Job:
    """What is trained, the same in every process."""

    contenders: list[Contender]
    data: Dataset
    settings: Settings
    steps_per_epoch: int
    num_parameters: int
    folder: Path
    title: str
    how: str


def _train(args: argparse.Namespace, processes: Processes) -> int:
    from electioncode.lab.training import report, train

    first = processes.is_first
    job = processes.agree(lambda: _prepare(args, processes))
    if first and args.progress != "none":
        print(f"{job.title}; {job.how}", file=sys.stderr, flush=True)
    summary, histories = [], {}
    for contender in job.contenders:
        name = contender.name
        with processes.transport(args.workers, args.topology) as transport, _progress(args, job, name, first) as show:
            result = train(contender, job.data, job.settings, transport, evaluate=first, on_step=show)
        everybody = processes.gather((result.bytes_sent, result.parameters_sha256))
        if first:
            bytes_sent = sum(sent for sent, _ in everybody)
            identical = len({sha for _, sha in everybody}) == 1
            summary.append(report.entry(contender, result, bytes_sent, identical))
            histories[name] = result.history
            report.compare(summary)
            report.write(job.folder, _record(args, job), summary, histories)
    if first:
        once = "" if processes.world else "every gradient computed once, for all its workers; "
        picture = job.folder / "accuracy.png"
        plots.accuracy(picture, summary, histories, job.title, f"seconds ({once}logarithmic)")
        print(f"\n{job.title}; {job.how}\n\n{report.table(summary)}\n")
        print(f"wrote {job.folder}/summary.json, settings.json, history.csv, accuracy.png", flush=True)
    processes.meet()
    different = [row["scheme"] for row in summary if not row["replicas_identical"]]
    if different:
        raise CommandError(f"processes ended with different parameters in: {', '.join(different)}")
    return 0


def _prepare(args: argparse.Namespace, processes: Processes) -> Job:
    """Find everything that is wrong with what the user asked for before anything is trained."""
    import torch

    from electioncode.lab.training import contenders, datasets, models, runner

    check_device(args.device)
    torch.set_num_threads(args.threads)
    electioncode.set_num_threads(args.threads)
    with explained():
        names = args.scheme or (["no-attack", "uncoded"] if args.code else ["all"])
        file = None
        if args.code:
            file, names = electioncode.AllocationCode.load(args.code), [*names, "code"]
        wanted = contenders.build(names, args.workers, args.byzantine, args.attack, seed=args.seed, file=file)
        data = datasets.load(args.data, args.train_samples, args.test_samples)
        given = {f.name: getattr(args, f.name) for f in fields(runner.Settings) if hasattr(args, f.name)}
        settings = runner.Settings(**{**given, "model": args.model or models.default_for(data.train.shape)})
        for contender in wanted:
            runner.check(contender, data, settings)
        folder = args.out / (args.name or f"{data.name}-{args.workers}-{args.byzantine}-{args.attack}")
        if processes.is_first:
            import matplotlib  # noqa: F401  (needed at the end: fail now if it is missing)

            folder.mkdir(parents=True, exist_ok=True)
    steps = runner.steps_per_epoch(data, settings)
    num_parameters = sum(p.numel() for p in data.build_model(settings).parameters())
    title = (
        f"{data.name}, {settings.model} (d = {num_parameters:,}): {args.workers} workers, {args.byzantine} "
        f"lie ({args.attack}); {settings.batch_size} images per step, {steps * settings.epochs} steps"
    )
    how = "in one process" if processes.world is None else f"over MPI, {args.topology}"
    return Job(wanted, data, settings, steps, num_parameters, folder, title, how)


def _record(args: argparse.Namespace, job: Job) -> dict[str, Any]:
    """Return the content of settings.json."""
    import torch

    return {
        "data": args.data,
        "train_samples": len(job.data.train),
        "test_samples": len(job.data.test),
        "num_parameters": job.num_parameters,
        "num_workers": args.workers,
        "num_byzantine": args.byzantine,
        "attack": args.attack,
        "transport": job.how,
        **asdict(job.settings),
        "threads": args.threads,
        "torch": torch.__version__,
        "build": electioncode.build_config(),
    }


@contextlib.contextmanager
def _progress(args: argparse.Namespace, job: Job, name: str, first: bool) -> Iterator[Callable[[Result], None]]:
    """Yield a function that shows how far a run is; only the first process shows anything."""
    mode = args.progress
    if mode == "auto":
        mode = "bar" if sys.stderr.isatty() else "lines"
    if not first or mode == "none":
        yield lambda result: None
    elif mode == "bar":
        from tqdm import tqdm  # type: ignore[import-untyped]

        total = args.epochs * job.steps_per_epoch
        with tqdm(total=total, desc=f"{name:<20}", unit="step", file=sys.stderr) as bar:

            def advance(result: Result) -> None:
                bar.set_postfix_str(f"accuracy {100 * result.history[-1][3]:.1f} %", refresh=False)
                bar.update(result.steps - bar.n)

            yield advance
    else:
        shown = 0

        def line(result: Result) -> None:
            nonlocal shown
            if len(result.history) > shown:
                shown = len(result.history)
                epoch, step, seconds, accuracy = result.history[-1]
                if epoch % max(1, args.epochs // 5) and epoch < args.epochs:
                    return
                print(
                    f"{name:<20}  epoch {epoch:>3}/{args.epochs}  step {step:>5}  {seconds:7.1f} s  "
                    f"accuracy {100 * accuracy:5.1f} %",
                    file=sys.stderr,
                    flush=True,
                )

        yield line
