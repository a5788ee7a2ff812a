"""``electioncode reproduce``: run the paper's figures again, every curve of them."""

from __future__ import annotations

import argparse
import functools
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electioncode.lab.errors import CommandError, check_ranges, explained
from electioncode.lab.figures import FIGURES, Figure, find, picture, results, summary
from electioncode.lab.machine import check_device, usable_cpus
from electioncode.lab.processes import Processes, guess_transport, run_everywhere
from electioncode.lab.text import table

if TYPE_CHECKING:
    from electioncode.lab.figures.runs import Job

# Options that change the settings of every run, or which samples it uses.
_SETTINGS = ("epochs", "max_steps", "model", "lr", "momentum_at", "device")
_SAMPLES = ("train_samples", "test_samples")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the parser of ``electioncode``."""
    p = subparsers.add_parser(
        "reproduce",
        help="run a figure of the paper again",
        description="Runs every curve of a figure of the paper with every seed, prints the table, draws the picture "
        "beside the paper's claim and writes all runs as JSON to OUT/FIGURE-SCALE. A command that was interrupted "
        "goes on where it was.",
        epilog="Over MPI, at small scale: mpiexec -n 6 electioncode reproduce fig4a --scale small --data PATH "
        "(5 workers and the server).",
    )
    add = p.add_argument
    add("figures", nargs="*", metavar="FIGURE", help="see --list; fig4, fig5 and fig6 stand for their parts")
    add("--list", action="store_true", help="all figures, their cost and what they need")
    add("--data", metavar="PATH", help="Amazon: Kaggle's train.csv (default: OpenML's copy is fetched); CIFAR-10: "
        "a folder of its batches, or with train/<class>/* and test/<class>/*")  # fmt: skip
    add("--scale", choices=("full", "small"), default="full", help="small: a few minutes on two cores (default: full)")
    add("--seeds", type=int, metavar="N", help="runs per curve, with seeds 0 to N - 1 (default: see --list)")
    add("--curve", action="append", metavar="NAME", default=[], help="this curve only; repeatable")
    add("--out", type=Path, default=Path("runs"), metavar="DIR", help="default: runs")
    add("--device", default="cpu", help="of the models: cpu, cuda, cuda:1 ... (default: cpu)")
    add("--jobs", type=int, metavar="N", help="runs at once (default: one per usable core, or 1 on another device)")
    add("--threads", type=int, default=1, help="threads of each run (default: 1)")
    add("--transport", choices=("mpi", "in-process"), help="default: mpi under mpiexec, in-process otherwise")
    add("--momentum-at", choices=("worker", "server"), default="worker", help="worker: as the paper; server: on the "
        "elected signs, as its published CIFAR-10 code (default: worker)")  # fmt: skip
    add("--bandwidth", type=float, default=10.0, metavar="GBIT", help="of the server's link in the modelled time, "
        "Gbit/s (default: 10)")  # fmt: skip
    add("--target", type=float, metavar="PERCENT", help="level for the time to reach it (default: the paper's, or "
        "where the uncoded curve ends)")  # fmt: skip
    add("--fresh", action="store_true", help="forget the runs that are there")
    add("--show", action="store_true", help="run nothing: table and picture of the runs that are there")
    change = p.add_argument_group("departing from the figure")
    for option in ("epochs", "max-steps", "train-samples", "test-samples"):
        change.add_argument(f"--{option}", type=int, metavar="N")
    change.add_argument("--model", help="as for electioncode train")
    change.add_argument("--lr", type=float)
    return p


def run(args: argparse.Namespace) -> int:
    """Run the command; over MPI, in every process."""
    if args.list or not args.figures:
        print(_listing(list(FIGURES.values())))
        return 0
    check_ranges(
        args, seeds=(1, 1000), jobs=(1, 1024), threads=(1, 1024), epochs=(1, 2**20), max_steps=(1, 2**30),
        train_samples=(1, 2**30), test_samples=(1, 2**30), bandwidth=(1e-6, 1e6), target=(0, 100),
    )  # fmt: skip
    with explained():
        found = find(args.figures)
    if args.show:
        for figure in found:
            _show_kept(args, figure)
        return 0
    sizes = {figure.num_workers for figure in found}
    if (args.transport or guess_transport()) == "mpi" and len(sizes) > 1:
        raise CommandError(f"over MPI figures must have the same number of workers, got {sorted(sizes)}")
    return run_everywhere(
        lambda processes: _reproduce(args, found, processes), args.transport, found[0].num_workers, "server", args.argv
    )


def _listing(found: list[Figure]) -> str:
    rows = []
    for figure in found:
        what = figure.title.replace(": codes that are not in the paper", ", beyond the paper")
        rows.append((figure.name, what, f"{figure.seeds} seeds, {len(figure.curves)} curves; {figure.cost}"))
    return table(("figure", "what", "by default"), rows)


def _reproduce(args: argparse.Namespace, found: list[Figure], processes: Processes) -> int:
    for figure in found:
        kept, todo = processes.agree(functools.partial(_prepare, args, figure, processes))
        _run(args, figure, kept, todo, processes)
    return 0


def _prepare(args: argparse.Namespace, figure: Figure, processes: Processes) -> tuple[results.Results, list[Job]]:
    """Find everything that is wrong with what the user asked for before anything is trained."""
    with explained():
        import matplotlib  # noqa: F401  (needed at the end: fail now if it is missing)

        from electioncode.lab.figures import runs, scales

        check_device(args.device)
        shared = scales.settings(figure, args.scale, _given(args, _SETTINGS))
        data = scales.source(figure, args.scale, args.data, _given(args, _SAMPLES))
        seeds = range(args.seeds or (1 if args.scale == "small" else figure.seeds))
        todo = runs.jobs(figure, seeds, shared, data, args.threads, args.curve)
        if processes.world is not None and any(runs.contender_of(job).attack == "omniscient" for job in todo):
            raise CommandError("omniscient colluders see all messages, and so run in one process only: choose --curve")
        for job in todo[: len(figure.curves)]:
            runs.check(job)
        path = _path(args, figure)
        transport = "in-process" if processes.world is None else "mpi"
        record = scales.record(figure, args.scale, shared, scales.load(**data), transport)
        kept = results.Results(path, figure.name, record, ["electioncode", *args.argv], fresh=args.fresh)
        if processes.is_first:
            path.parent.mkdir(parents=True, exist_ok=True)
    return kept, [job for job in todo if not kept.has(job.curve.name, job.seed)]


def _given(args: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def _run(
    args: argparse.Namespace, figure: Figure, kept: results.Results, todo: list[Job], processes: Processes
) -> None:
    first = processes.is_first
    if first:
        print(f"{figure.title}: {len(todo)} runs, {len(kept.runs)} kept", file=sys.stderr, flush=True)
    for number, (job, run) in enumerate(_runs(args, todo, processes), start=1):
        everybody = processes.gather(run["parameters_sha256"])
        if len(set(everybody)) > 1:
            raise CommandError(f"processes ended with different parameters in {job.curve.name!r}")
        if first:
            kept.add(run)
            end = run["history"][-1]
            print(
                f"{number:>4}/{len(todo)}  {job.curve.name:<28} seed {job.seed}  {run['seconds']:7.1f} s  "
                f"{100 * end[3]:6.2f} %",
                file=sys.stderr,
                flush=True,
            )
    if first:
        _show(args, figure, kept.path, kept.content)
    processes.meet()


def _runs(args: argparse.Namespace, todo: list[Job], processes: Processes) -> Iterator[tuple[Job, dict[str, Any]]]:
    from electioncode.lab.figures import runs

    if processes.world is not None:
        return runs.run_over(todo, lambda n: processes.transport(n, "server"), evaluate=processes.is_first)
    jobs = args.jobs or (max(1, usable_cpus() // args.threads) if args.device == "cpu" else 1)
    return runs.run_all(todo, min(jobs, max(1, len(todo))))


def _path(args: argparse.Namespace, figure: Figure) -> Path:
    return args.out / f"{figure.name}-{args.scale}" / "results.json"


def _show_kept(args: argparse.Namespace, figure: Figure) -> None:
    with explained():
        content = results.load(_path(args, figure))
        if not content["runs"]:
            raise ValueError(f"{_path(args, figure)} holds no runs yet")
        _show(args, figure, _path(args, figure), content)


def _show(args: argparse.Namespace, figure: Figure, path: Path, content: dict[str, Any]) -> None:
    """Print and write the table, draw the picture, and say where everything is."""
    settings, runs = content["settings"], content["runs"]
    target = None if args.target is None else args.target / 100
    rows = summary.rows(figure, runs, args.bandwidth, target)
    said = summary.verdict(figure, rows)
    name = {"amazon": "logistic regression"}.get(figure.task, settings["model"])
    counts = [len(row.runs) for row in rows if row.curve.varies]
    seeds = f"{min(counts)} to {max(counts)}" if len(set(counts)) > 1 else f"{max(counts, default=1)}"
    subtitle = (
        f"{name}, {settings['train_samples']:,} training samples, {settings['epochs']} epochs, "
        f"{settings['batch_size']} samples per step, {seeds} seed{'' if seeds == '1' else 's'}"
    )
    if settings["scale"] == "small":
        subtitle += "; SMALL SCALE, not the paper's"
    over_mpi = settings["transport"] == "mpi"
    text = summary.table(figure, rows, settings["metric"], args.bandwidth, target, settings["transport"])
    below = "\n".join(said if over_mpi else [*said, summary.time_shares(runs)])
    print(f"\n{figure.title}\n{subtitle}\n\n{text}\n\n{below}\n")
    image = path.with_name(f"{figure.name}.png")
    clock = "measured" if over_mpi else "modelled"
    notes = [part for line in said for part in textwrap.wrap(line, 190, subsequent_indent="    ")]
    picture.draw(image, figure, rows, settings["metric"], subtitle, notes, clock)
    path.with_name("table.txt").write_text(f"{subtitle}\n\n{text}\n\n{below}\n", encoding="utf-8")
    print(f"wrote {path}, {image.name}, table.txt", flush=True)
