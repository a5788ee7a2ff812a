"""What came out of a run: tables and a JSON file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from electioncode.lab.bench.case import Case, Row
from electioncode.lab.text import table

Record = dict[str, Any]


def machine_line(m: dict[str, Any]) -> str:
    """Describe the machine in one line, from what `machine.describe` returns."""
    parts = [
        m["cpu"],
        f"{m['cpus']} CPUs",
        f"{m['last_level_cache_bytes'] >> 20} MiB last-level cache",
        m["system"],
        f"electioncode {m['electioncode']} ({m['compiler']})",
        f"Python {m['python']}",
        f"NumPy {m['numpy']}",
        *([f"torch {m['torch']}"] if m["torch"] else []),
    ]
    return ", ".join(parts)


def records(case: Case, rows: Sequence[Row]) -> list[Record]:
    """Make one record per row; those of this package with their share of the ceiling and the fastest naive way."""
    timed = [r for r in rows if r.seconds]
    out = []
    for r in rows:
        record: Record = {
            "operation": case.operation,
            "n": case.n,
            "d": case.d,
            "dtype": case.dtype,
            "kind": r.way.kind,
            "name": r.way.name,
            "isa": r.isa,
            "threads": r.threads,
            "bytes": r.nbytes,
            "formula": case.formula,
        }
        if not r.seconds:
            out.append({**record, "skipped": r.reason})
            continue
        record |= {"seconds": r.median, "seconds_min": min(r.seconds), "calls": len(r.seconds)}
        record["gigabytes_per_second"] = r.bytes_per_second / 1e9
        if r.way.kind == "electioncode":
            record |= _against(case, r, timed)
        elif r.way.kind != "ceiling" and (ours := _ours(r, timed)) is not None:
            record["electioncode_is_times_faster"] = r.median / ours.median
        out.append(record)
    return out


def _against(case: Case, r: Row, timed: Sequence[Row]) -> Record:
    record: Record = {"goal": case.goal}
    for other in timed:
        if other.way.kind == "ceiling" and other.threads == r.threads:
            share = r.bytes_per_second / other.bytes_per_second
            record[f"share_of_{other.way.name}"] = share
            if other.way.name == case.ceiling:
                record["ceiling_gigabytes_per_second"] = other.bytes_per_second / 1e9
                record["share"] = share
    naive = [o for o in timed if o.way.kind == "naive" and (o.threads == r.threads or o.way.library == "")]
    if naive:  # with the same threads, or unable to use more than one
        best = min(naive, key=lambda o: o.median)
        record["times_faster"], record["fastest_naive"] = best.median / r.median, best.way.name
    return record


def _ours(r: Row, timed: Sequence[Row]) -> Row | None:
    """Return this package's row to compare with: same threads, and the same instruction set or else the best."""
    rows = [o for o in timed if o.way.kind == "electioncode" and o.threads == r.threads]
    same = [o for o in rows if not r.isa or o.isa == r.isa]
    return next(iter(same or rows), None)


def write_json(path: Path, about: dict[str, Any], settings: dict[str, Any], rows: Sequence[Record]) -> None:
    """Write bench.json."""
    path.write_text(json.dumps({"machine": about, "settings": settings, "results": list(rows)}, indent=1) + "\n")


def main_table(rows: Sequence[Record], markdown: bool = False) -> str:
    """Return this package's rows: time, speed, share of the ceiling, times faster than the fastest other way."""
    head = (
        "operation", "n", "dtype", "ISA", "threads", "time", "GB/s", "ceiling", "share", "goal", "faster", "than",
    )  # fmt: skip
    body = [
        [
            *(r["operation"], str(r["n"]), r["dtype"], r["isa"], str(r["threads"]), seconds(r["seconds"])),
            f"{r['gigabytes_per_second']:.1f}",
            f"{r['ceiling_gigabytes_per_second']:.1f}" if "share" in r else "",
            f"{r['share']:.2f}" if "share" in r else "",
            f"{r['goal']:.2f}" if r["goal"] else "",
            f"{r['times_faster']:.3g}x" if "times_faster" in r else "",
            r.get("fastest_naive", ""),
        ]
        for r in rows
        if r["kind"] == "electioncode" and "seconds" in r
    ]
    return table(head, body, "lrllrrrrrrrl", markdown)


def other_table(rows: Sequence[Record], markdown: bool = False) -> str:
    """Return the other ways, and parts of this package's: how many times its own time they take."""
    head = ["operation", "n", "dtype", "way", "ISA", "threads", "time", "of electioncode's"]
    body = []
    for r in rows:
        if r["kind"] in ("naive", "part"):
            time = seconds(r["seconds"]) if "seconds" in r else r["skipped"]
            factor = f"{r['electioncode_is_times_faster']:.3g}x" if "electioncode_is_times_faster" in r else ""
            where = [r["operation"], str(r["n"]), r["dtype"]]
            body.append([*where, r["name"], r["isa"], str(r["threads"]), time, factor])
    return table(head, body, "lrlllrrr", markdown)


def seconds(s: float) -> str:
    """Format seconds with three digits and a unit."""
    scale, unit = next(((x, u) for x, u in ((1.0, "s"), (1e-3, "ms")) if s >= 0.9995 * x), (1e-6, "us"))
    value = s / scale
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
