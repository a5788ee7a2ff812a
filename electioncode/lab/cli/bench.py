"""``electioncode bench``: every kernel against memory bandwidth and against other ways to do its work."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import electioncode as ec
from electioncode.lab import bench
from electioncode.lab.bench import report
from electioncode.lab.errors import CommandError
from electioncode.lab.machine import describe, have

GIB = 1 << 30


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the parser of ``electioncode``."""
    p = subparsers.add_parser(
        "bench",
        help="measure every kernel against memory bandwidth and other ways",
        description="Measures every kernel on data that no cache holds, against loops that only read or copy "
        "as many bytes, and against ways to get the same result without this package. Checks every result. "
        "Writes bench.json, bench.md and bench.png to OUT.",
    )
    add = p.add_argument
    coordinates = "coordinates (default: %(default)d, ResNet-18)"
    add("--d", type=int, default=bench.RESNET18_COORDINATES, metavar="D", help=coordinates)
    add("--threads", metavar="T,...", help="numbers of threads (default: 1 and the default number)")
    add("--isa", metavar="NAME,...", help="instruction sets, or all (default: the one in use; --full: all)")
    add("--op", metavar="WORD,...", help="only operations with one of these words in their name: pack,tally")
    add("--out", type=Path, default=Path("runs/bench"), metavar="DIR", help="default: %(default)s")
    add("--full", action="store_true", help="every n and instruction set, more calls, slow ways too: minutes")
    pool = "memory to go through (default: twice the last-level cache, at least 1)"
    add("--pool", type=float, metavar="GIB", help=pool)
    add("--limit", type=float, metavar="GIB", help="leave out what needs more (default: 2; --full: 4)")
    return p


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables and write the files; return the exit code."""
    threads, isas = _threads(args.threads), _isas(args.isa, args.full)
    if args.d < 128:
        raise CommandError(f"--d must be at least 128, got {args.d}")
    words = [w.strip().lower() for w in (args.op or "").split(",") if w.strip()]
    cases = [c for c in bench.all_cases(args.d, args.full) if not words or any(w in c.operation.lower() for w in words)]
    if not cases:
        raise CommandError(f"--op {args.op!r} matches no operation")
    limit = args.limit if args.limit is not None else 4.0 if args.full else 2.0
    pool = bench.Pool(None if args.pool is None else int(args.pool * GIB), int(limit * GIB))
    about = describe()
    print(report.machine_line(about))
    print(f"d = {args.d:,}; data go through {pool.nbytes / GIB:.2f} GiB; medians")
    if about["load_average"] is not None and about["load_average"] > 0.5:
        print(f"load average {about['load_average']:.1f}: something else is running, do not quote these numbers")
    rows: list[report.Record] = []
    start = time.perf_counter()
    for i, case in enumerate(cases):
        _show(f"{i + 1}/{len(cases)} {case.id}")
        effort = bench.FULL if args.full else bench.SHORT
        rows += report.records(case, bench.measure(case.rows(isas, threads, slow=args.full), pool, effort))
    _show("")
    took = time.perf_counter() - start
    print(f"\n{report.main_table(rows)}\n\n{report.other_table(rows)}\n")
    args.out.mkdir(parents=True, exist_ok=True)
    settings = {"d": args.d, "threads": threads, "isas": isas, "op": words, "full": args.full, "pool": pool.nbytes}
    report.write_json(args.out / "bench.json", about, {**settings, "seconds": took}, rows)
    tables = f"{report.main_table(rows, True)}\n\n{report.other_table(rows, True)}\n"
    (args.out / "bench.md").write_text(f"{report.machine_line(about)}; d = {args.d:,}\n\n{tables}")
    print(f"{took:.0f} s; {', '.join(_written(args.out, about, rows))}")
    return 0


def _show(text: str) -> None:
    """Replace the line on a terminal; print nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _written(out: Path, about: dict[str, Any], rows: list[report.Record]) -> list[str]:
    names = [str(out / "bench.json"), str(out / "bench.md")]
    if not have("matplotlib"):
        return [*names, "no plot: it needs matplotlib (pip install 'electioncode[train]')"]
    bench.roofline(out / "bench.png", about, rows)
    return [*names, str(out / "bench.png")] if (out / "bench.png").exists() else names


def _threads(text: str | None) -> list[int]:
    if text is None:
        return sorted({1, ec.num_threads()})
    try:
        threads = [int(t) for t in text.split(",")]
    except ValueError:
        raise CommandError(f"--threads must be numbers separated by commas, got {text!r}") from None
    if not all(1 <= t <= 1024 for t in threads):
        raise CommandError(f"--threads must be from 1 to 1024, got {text!r}")
    return sorted(set(threads))


def _isas(text: str | None, full: bool) -> list[str]:
    available = ec.instruction_sets()
    if text == "all" or (text is None and full):
        return available
    if text is None:
        return [ec.instruction_set()]
    chosen = [name.strip() for name in text.split(",")]
    if not set(chosen) <= set(available):
        raise CommandError(f"--isa must be of {', '.join(available)} or all, got {text!r}")
    return [name for name in available if name in chosen]
