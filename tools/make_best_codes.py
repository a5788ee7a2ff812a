"""Make electioncode/robustness/planning/best_codes.json, the table of `electioncode.robustness.planning.best_known`.

    python tools/make_best_codes.py [--seconds 8] [--only packings|loads]
    python tools/make_best_codes.py --report    # the table beside Algorithm 1 and the lower bounds, as Markdown

An existing table is improved: the search starts from its packings and never takes a worse one. The result depends on
the speed of the machine, but every entry is certified before it is written.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from fractions import Fraction
from pathlib import Path

import electioncode
from electioncode.codes import AllocationCode, deterministic
from electioncode.robustness import tolerance
from electioncode.robustness.planning import constructions, limits, packing, row_types, share, table

PATH = Path(electioncode.__file__).parent / "robustness" / "planning" / "best_codes.json"
SIZES = [(n, b) for b in range(1, table.MAX_BYZANTINE + 1) for n in range(2 * b + 1, table.MAX_WORKERS + 1)]


def certify(code: AllocationCode, b: int) -> None:
    found = tolerance(code).num_byzantine
    if found < b:
        raise SystemExit(f"make_best_codes: {code} must tolerate {b}, but tolerates {found}")


def make_packings(known: dict[str, list[int]], seconds: float, write) -> None:
    for b in range(1, table.MAX_BYZANTINE + 1):
        for s in range(1, (table.MAX_WORKERS - 1) // 2 - b + 1):
            started = time.perf_counter()
            heaviest = min(2 * b + 9, packing.num_points(s, b))
            options = [known.get(f"{s},{b}") or constructions.pack_sets(s, b, 0.0)]
            searcher = packing.Packing(s, b, heaviest, seed=int(time.time()))
            spare = known.get(f"{s - 1},{b}", [])
            options.append(searcher.search(seconds / 2, options[0]))
            options.append(searcher.search(seconds / 2, spare if len(spare) <= s else ()))
            best = max(options, key=packing.quality)
            for n in (2 * (s + b) + 1, 2 * (s + b)):
                certify(packing.code_from_sets(n, n, b, best, "new"), b)
            known[f"{s},{b}"] = best
            write()
            spent = time.perf_counter() - started
            print(f"s={s} b={b}: {len(best)} sets, {packing.weight(best)} points, {spent:.1f} s", flush=True)


def lightest_load(n: int, b: int, seconds: float) -> tuple[AllocationCode, list[str]]:
    """Find the code with the smallest share of the batch, and the shares below it that stay undecided."""
    k = max((j for j in range(1, n + 1, 2) if j * (2 * b + 1) <= n), default=1)
    best = constructions.copies(n, k, b)
    assert best is not None
    options = []
    for size in range(2, 14):
        least = limits.smallest_load(n, b, size)
        loads = range(least or size + 1, size + 1)
        options += [
            (Fraction(w, size), size, w) for w in loads if (size % 2 == 0 or w % 2) and Fraction(w, size) < share(best)
        ]
    undecided = []
    for _, size, load in sorted(options):
        only_cap = size > row_types.MAX_PARTITIONS
        solved = row_types.lightest(n, b, size, load, time_limit=seconds, only_cap=only_cap)
        if solved.matrix is not None:
            return AllocationCode(solved.matrix), undecided
        if not solved.proven:
            undecided.append(f"{load}/{size}")
    return best, undecided


def make_loads(loads: dict[str, list], undecided: dict[str, list[str]], seconds: float, write) -> None:
    for n, b in SIZES:
        started = time.perf_counter()
        code, left = lightest_load(n, b, seconds)
        certify(code, b)
        busy = code.allocation[code.allocation.any(axis=1)].tolist()
        rows = itertools.groupby("".join(map(str, row)) for row in busy)
        loads[f"{n},{b}"] = [[len(list(equal)), text] for text, equal in rows]
        undecided.pop(f"{n},{b}", None)
        if left:
            undecided[f"{n},{b}"] = left
        write()
        spent = time.perf_counter() - started
        print(f"n={n} b={b}: share {share(code)}, open below {left}, {spent:.1f} s", flush=True)


def report() -> None:
    """Print every entry with the times of its two certificates."""
    print(
        "| n | b | ones, k = n, nobody idle | Algorithm 1 | (2b + 1) n | s | largest load, any k | (2b + 1) / n | s |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for n, b in SIZES:
        light, load = table.best_known(n, b, "redundancy"), table.best_known(n, b)
        answers = [tolerance(code) for code in (light, load)]
        if any(answer.num_byzantine < b or not answer.exact for answer in answers):
            raise SystemExit(f"make_best_codes: n={n} b={b} is not certified: {answers}")
        paper = str(deterministic(n, b).num_ones) if n % 2 else "-"
        text = f"{load.max_load}/{load.num_partitions}"
        print(
            f"| {n} | {b} | {light.num_ones} | {paper} | {(2 * b + 1) * n} | {answers[0].seconds:.3f} "
            f"| {text} | {(2 * b + 1) / n:.3f} | {answers[1].seconds:.3f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="search time per entry")
    parser.add_argument("--only", choices=("packings", "loads"))
    parser.add_argument("--report", action="store_true", help="print the existing table")
    arguments = parser.parse_args()
    if arguments.report:
        report()
        return
    found = json.loads(PATH.read_text()) if PATH.exists() else {"packings": {}, "loads": {}, "undecided": {}}

    def write() -> None:
        lines = ["{"]
        for at, (part, entries) in enumerate(sorted(found.items())):
            inner = ",\n".join(f'  "{key}": {json.dumps(value)}' for key, value in entries.items())
            lines.append(f' "{part}": {{\n{inner}\n }}' + ("," if at < len(found) - 1 else ""))
        PATH.write_text("\n".join([*lines, "}"]) + "\n")

    if arguments.only != "loads":
        make_packings(found["packings"], arguments.seconds, write)
    if arguments.only != "packings":
        make_loads(found["loads"], found["undecided"], arguments.seconds, write)


if __name__ == "__main__":
    main()
