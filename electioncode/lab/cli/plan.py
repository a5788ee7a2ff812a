"""``electioncode plan``: certified codes for a number of workers and liars, as a table, a file and a picture."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from electioncode.codes import AllocationCode, bernoulli, deterministic, uncoded
from electioncode.lab.errors import CommandError
from electioncode.lab.text import table
from electioncode.robustness import TIES, failure_rate, tolerance
from electioncode.robustness.planning import OBJECTIVES, Candidate, candidates, mean_share, share

HEADER = ("", "code", "k", "redundancy", "largest load", "step time", "certified b", "method", "failure rate")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the parser of ``electioncode``."""
    parser = subparsers.add_parser(
        "plan",
        help="find and certify an allocation code",
        description=(
            "Prints codes that tolerate the given number of Byzantine workers, marks the recommended one, saves it "
            "as JSON for 'train --code' and AllocationCode.load, and draws largest load over tolerated workers."
        ),
        epilog=(
            "redundancy: partitions a worker computes on average. largest load: the same for the busiest worker. "
            "step time: the busiest worker's share of the batch, so the time of a step relative to one worker that "
            "computes the whole batch. failure rate: probability that the worst placed Byzantine workers make the "
            "result differ from the true majority at the given signal-to-noise ratio (95 % interval)."
        ),
    )
    parser.add_argument("--workers", type=int, required=True, metavar="N", help="number of workers")
    parser.add_argument("--byzantine", type=int, required=True, metavar="B", help="number of liars to tolerate")
    parser.add_argument("--partitions", type=int, metavar="K", help="number of data partitions (default: free)")
    parser.add_argument(
        "--max-load",
        type=_max_load,
        metavar="L",
        help="most that one worker may compute: 3 partitions, or 0.5 (with a point) of the batch",
    )
    parser.add_argument("--objective", choices=OBJECTIVES, default="max_load", help="default: %(default)s")
    parser.add_argument("--tie", choices=TIES, default="plus", help="tie policy of the vote (default: %(default)s)")
    parser.add_argument("--no-idle", action="store_true", help="give every worker something to compute")
    parser.add_argument("--snr", type=float, default=1.0, help="of a partition's gradient (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=1_000_000, help="for failure rates (default: %(default)s)")
    parser.add_argument("--time-limit", type=float, default=30.0, metavar="SECONDS", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the random codes and trials (default: %(default)s)")
    parser.add_argument("--out", default="code.json", metavar="FILE", help="default: %(default)s")
    parser.add_argument("--plot", default="plan.png", metavar="FILE", help="default: %(default)s; '' for none")
    return parser


def _max_load(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def run(args: argparse.Namespace) -> int:
    """Find codes, print and save them, draw the picture; return the exit code."""
    try:
        found = candidates(
            args.workers,
            args.byzantine,
            args.partitions,
            args.max_load,
            args.objective,
            tie=args.tie,
            allow_idle=not args.no_idle,
            time_limit=args.time_limit,
        )
        if not found:
            raise CommandError("found no code, though no bound excludes one; relax --max-load or --time-limit")
        rows = [_row(candidate, first=index == 0) for index, candidate in enumerate(found)]
        listed = {candidate.code for candidate in found}
        rows += [_measured(code, args) for code in _for_comparison(args) if code not in listed]
    except ValueError as error:
        raise CommandError(str(error).removeprefix("plan: ")) from error
    print(table(HEADER, rows))
    best = found[0].code
    best.save(args.out)
    print(f"\n* recommended ({args.objective}): {best.name}, saved to {args.out}")
    if share(best) == 1 and args.byzantine > 0:
        easier = candidates(args.workers, args.byzantine - 1, tie=args.tie, time_limit=2.0, most=1)
        if easier and easier[0].share < 1:
            less = f"{float(easier[0].share):.3g}"
            print(f"  with --byzantine {args.byzantine - 1} no worker needs to compute more than {less} of the batch")
    if args.plot:
        from electioncode.lab.figures import plan_picture

        try:
            plan_picture.draw(args.workers, args.plot, args.tie, chosen=best)
        except ImportError:
            print("  no picture: it needs matplotlib (pip install 'electioncode[train]')")
        else:
            print(f"  largest load over tolerated workers: {args.plot}")
    return 0


def _row(candidate: Candidate, first: bool) -> Sequence[str]:
    code, certificate = candidate.code, candidate.certificate
    held = str(certificate.num_byzantine) + ("" if certificate.exact else f"..{certificate.upper}")
    method = f"{certificate.method}, {certificate.seconds:.2g} s"
    return ("*" if first else "", *_sizes(code), held, method, "0")


def _sizes(code: AllocationCode) -> Sequence[str]:
    mean = f"{code.redundancy:.3g} ({float(mean_share(code)):.0%})"
    return code.name, str(code.num_partitions), mean, str(code.max_load), f"{float(share(code)):.3g}"


def _for_comparison(args: argparse.Namespace) -> list[AllocationCode]:
    """Return the codes of the paper: Algorithm 1, random codes, and no code at all."""
    n, b = args.workers, args.byzantine
    codes = [deterministic(n, b)] if n % 2 else []
    codes += [bernoulli(n, r, seed=args.seed) for r in (2, 3) if r <= n]
    return [*codes, uncoded(n)]


def _measured(code: AllocationCode, args: argparse.Namespace) -> Sequence[str]:
    certificate = tolerance(code, args.tie, time_limit=args.time_limit)
    if certificate.num_byzantine >= args.byzantine:
        failing = "0"
    else:
        rate = failure_rate(code, args.byzantine, args.snr, args.trials, tie=args.tie, seed=args.seed).majority
        failing = f"{rate.rate:.3g} ({rate.low:.3g}..{rate.high:.3g})"
    held = "none" if certificate.upper < 0 else str(certificate.num_byzantine)
    if not certificate.exact:
        held += f"..{certificate.upper}"
    return ("", *_sizes(code), held, f"{certificate.method}, {certificate.seconds:.2g} s", failing)
