"""What came out of a run: the machine, tables, a JSON file."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import electioncode as ec
from electioncode.lab.bench.case import Case, have
from electioncode.lab.bench.measure import Result
from electioncode.lab.bench.pool import last_level_cache

Record = dict[str, Any]


def machine() -> dict[str, Any]:
    """CPU, caches, versions, load: what a number means nothing without."""
    config = ec.build_config()
    torch_version = ""
    if have("torch"):
        import torch

        torch_version = torch.__version__
    return {
        "cpu": _cpu_model(),
        "cpus": config["num_threads"] if not hasattr(os, "sched_getaffinity") else len(os.sched_getaffinity(0)),
        "last_level_cache_bytes": last_level_cache(),
        "system": f"{platform.system()} {platform.machine()}",
        "instruction_sets": ec.instruction_sets(),
        "electioncode": config["version"],
        "compiler": config["compiler"],
        "python": config["python"],
        "numpy": config["numpy"],
        "torch": torch_version,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def machine_line(m: dict[str, Any]) -> str:
    parts = [
        m["cpu"],
        f"{m['cpus']} CPUs",
        f"{m['last_level_cache_bytes'] >> 20} MiB last-level cache",
        f"{m['system']}",
        f"electioncode {m['electioncode']} ({m['compiler']})",
        f"Python {m['python']}",
        f"NumPy {m['numpy']}",
        *([f"torch {m['torch']}"] if m["torch"] else []),
    ]
    return ", ".join(parts)


def records(case: Case, results: Sequence[Result]) -> list[Record]:
    """One record a row; those of this package with their share of the ceiling and the fastest naive way."""
    timed = [r for r in results if r.seconds]
    out = []
    for r in results:
        spec = r.row.spec
        record: Record = {
            "operation": case.operation,
            "n": case.n,
            "d": case.d,
            "dtype": case.dtype,
            "kind": spec.kind,
            "name": spec.name,
            "isa": r.row.isa,
            "threads": r.row.threads,
            "bytes": r.row.nbytes,
            "formula": case.formula,
        }
        if not r.seconds:
            out.append({**record, "skipped": r.reason})
            continue
        record |= {"seconds": r.median, "seconds_min": min(r.seconds), "calls": len(r.seconds)}
        record["gigabytes_per_second"] = r.bytes_per_second / 1e9
        if spec.kind == "electioncode":
            record |= _against(case, r, timed)
        elif spec.kind != "ceiling" and (ours := _ours(r, timed)) is not None:
            record["electioncode_is_times_faster"] = r.median / ours.median
        out.append(record)
    return out


def _against(case: Case, r: Result, timed: Sequence[Result]) -> Record:
    record: Record = {"goal": case.goal}
    for other in timed:
        if other.row.spec.kind == "ceiling" and other.row.threads == r.row.threads:
            share = r.bytes_per_second / other.bytes_per_second
            record[f"share_of_{other.row.spec.name}"] = share
            if other.row.spec.name == case.ceiling:
                record["ceiling_gigabytes_per_second"] = other.bytes_per_second / 1e9
                record["share"] = share
    naive = [o for o in timed if o.row.spec.kind == "naive" and _comparable(o, r.row.threads)]
    if naive:
        best = min(naive, key=lambda o: o.median)
        record["times_faster"], record["fastest_naive"] = best.median / r.median, best.row.spec.name
    return record


def _comparable(other: Result, threads: int) -> bool:
    """The same threads, or a way that cannot use more than one."""
    return other.row.threads == threads or other.row.spec.library == ""


def _ours(r: Result, timed: Sequence[Result]) -> Result | None:
    """This package's row to set another row against: same threads; same instruction set, else the best."""
    rows = [o for o in timed if o.row.spec.kind == "electioncode" and o.row.threads == r.row.threads]
    same = [o for o in rows if not r.row.isa or o.row.isa == r.row.isa]
    return (same or rows or [None])[0]  # type: ignore[list-item]


def write_json(path: Path, about: dict[str, Any], settings: dict[str, Any], rows: Sequence[Record]) -> None:
    path.write_text(json.dumps({"machine": about, "settings": settings, "results": list(rows)}, indent=1) + "\n")


def main_table(rows: Sequence[Record], markdown: bool = False) -> str:
    """This package's rows: time, speed, share of the ceiling, times faster than the fastest other way."""
    head = [
        "operation",
        "n",
        "dtype",
        "ISA",
        "threads",
        "time",
        "GB/s",
        "ceiling",
        "share",
        "goal",
        "faster",
        "than",
    ]
    body = []
    for r in rows:
        if r["kind"] == "electioncode" and "seconds" in r:
            body.append(
                [
                    r["operation"],
                    str(r["n"]),
                    r["dtype"],
                    r["isa"],
                    str(r["threads"]),
                    seconds(r["seconds"]),
                    f"{r['gigabytes_per_second']:.1f}",
                    f"{r['ceiling_gigabytes_per_second']:.1f}" if "share" in r else "",
                    f"{r['share']:.2f}" if "share" in r else "",
                    f"{r['goal']:.2f}" if r["goal"] else "",
                    f"{r['times_faster']:.3g}x" if "times_faster" in r else "",
                    r.get("fastest_naive", ""),
                ]
            )
    return table(head, body, "lrllrrrrrrrl", markdown)


def other_table(rows: Sequence[Record], markdown: bool = False) -> str:
    """The other ways, and parts of this package's: how many times its own time they take."""
    head = ["operation", "n", "dtype", "way", "ISA", "threads", "time", "of electioncode's"]
    body = []
    for r in rows:
        if r["kind"] in ("naive", "part"):
            time = seconds(r["seconds"]) if "seconds" in r else r["skipped"]
            factor = f"{r['electioncode_is_times_faster']:.3g}x" if "electioncode_is_times_faster" in r else ""
            where = [r["operation"], str(r["n"]), r["dtype"]]
            body.append([*where, r["name"], r["isa"], str(r["threads"]), time, factor])
    return table(head, body, "lrlllrrr", markdown)


def table(head: Sequence[str], body: Sequence[Sequence[str]], align: str, markdown: bool = False) -> str:
    """Aligned columns, `align` one of "l" and "r" each; as Markdown if asked."""
    least = 3 if markdown else 1
    widths = [max(least, *(len(row[i]) for row in [head, *body])) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [c.ljust(w) if a == "l" else c.rjust(w) for c, w, a in zip(cells, widths, align, strict=True)]
        return "| " + " | ".join(padded) + " |" if markdown else "  ".join(padded).rstrip()

    rules = [
        "-" * (w - 1) + ("-" if a == "l" else ":") if markdown else "-" * w for w, a in zip(widths, align, strict=True)
    ]
    return "\n".join([line(head), line(rules), *(line(row) for row in body)])


def seconds(s: float) -> str:
    """Three digits and a unit."""
    scale, unit = next(((x, u) for x, u in ((1.0, "s"), (1e-3, "ms")) if s >= 0.9995 * x), (1e-6, "us"))
    value = s / scale
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
